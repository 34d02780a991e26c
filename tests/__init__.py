import pytest

pytest.register_assert_rewrite("tests.support")  # an assertion that fails there shows what differs, as in a test
