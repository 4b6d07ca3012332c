"""For tests that run scripts of process_data in this process."""
import pytest
from joblib.externals.loky import get_reusable_executor


@pytest.fixture(autouse=True, scope='module')
def no_workers_left():
    """joblib keeps its worker processes for the next call; other tests count the processes."""
    yield
    get_reusable_executor().shutdown(wait=True)
