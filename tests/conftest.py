import pytest
from odd_files import write_odd_files


@pytest.fixture(scope="session")
def odd_files(tmp_path_factory):
    """Records (name, path, readable, expected pixels or None) of over forty odd image files."""
    return write_odd_files(tmp_path_factory.mktemp("odd_files"))
