"""Prompt templates, and the embeddings of names averaged over several of them."""

from skclip._messages import shown
from skclip.encode.texts import embed_text_means

TEMPLATE_SETS = {
    "plain": ("{}",),
    "photo": ("a photo of a {}.",),
    "photos": (
        "a photo of a {}.",
        "a close-up of the {}.",
        "a picture with a {} in it.",
        "a dark photo of a {}.",
        "an overexposed photo of the {}.",
        "a small {} far away.",
        "a large {} that fills the frame.",
        "a cropped view of a {}.",
        "a low-resolution snapshot of the {}.",
        "a drawing of a {}.",
        "someone's own {}.",
        "several of them: {}.",
    ),
    "sketches": ("a sketch of a {}.", "a line drawing of the {}.", "a child's drawing of a {}."),
    "textures": ("a surface with a {} texture.", "a close-up of something {}."),
    "actions": ("a photo of a person {}.", "someone who is busy {}.", "people {} together."),
}


def resolve_templates(templates, encoder=None):
    """Return prompt templates as a tuple of str, each with one ``{}``.

    Parameters
    ----------
    templates : None, str or sequence of str
        None for the bare name, "auto" for the encoder's own or "photo" if it has none, a name of
        `TEMPLATE_SETS`, one template, or several.
    encoder : Encoder or None, default=None
        Whose templates "auto" takes.

    Returns
    -------
    templates : tuple of str

    Raises
    ------
    ValueError
        If a template does not hold exactly one ``{}``, there is no set of that name, or the
        sequence is empty.
    """
    if templates is None:
        return TEMPLATE_SETS["plain"]
    if isinstance(templates, str) and templates == "auto":
        templates = (encoder and encoder.templates) or TEMPLATE_SETS["photo"]
    if isinstance(templates, str):
        if "{" not in templates:
            if templates not in TEMPLATE_SETS:
                raise ValueError(
                    "templates must hold one '{}' for the name, or be 'auto' or one of "
                    f"{sorted(TEMPLATE_SETS)}, got {shown(templates)}"
                )
            return TEMPLATE_SETS[templates]
        templates = [templates]
    templates = tuple(templates)
    if not templates:
        raise ValueError("templates must hold at least one template, got none")
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise ValueError(
                f"each of templates must hold exactly one '{{}}', got {shown(template)}"
            )
    return templates


def embed_prompts(encoder, names, templates, **options):
    """Embed groups of names, each as the mean over its names and the templates.

    Parameters
    ----------
    encoder : Encoder
    names : list of list of str
        One group of names or descriptions for each class.
    templates : tuple of str
    **options
        Those of `skclip.encode.texts.embed_text_means`.

    Returns
    -------
    vectors : ndarray of shape (n_groups, embed_dim), float32
        Means of normalized embeddings, scaled to unit length.

    Notes
    -----
    Radford et al. 2021, section 3.1.4: the ensemble is made in the embedding space, so that each
    class has one row of weights.
    """
    # not str.format, because a name can contain braces
    prompts = [[t.replace("{}", name) for name in group for t in templates] for group in names]
    return embed_text_means(encoder, prompts, **options)
