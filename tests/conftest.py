import pytest
from hypothesis import HealthCheck, settings
from odd_files import write_odd_files

# tests start these in processes; importing them in a search for docstring examples would run them
collect_ignore = ["scripts"]

# how long an example takes depends on the machine, and is no reason to fail
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
