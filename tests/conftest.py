import pytest
from hypothesis import HealthCheck, settings
from odd_files import write_odd_files

# how long an example takes says something about the machine only
settings.register_profile(
    "skclip",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("skclip")


@pytest.fixture(scope="session")
def odd_files(tmp_path_factory):
    """Records (name, path, readable, expected pixels or None) of over forty odd image files."""
    return write_odd_files(tmp_path_factory.mktemp("odd_files"))
