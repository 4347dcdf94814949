"""Let pytest explain the asserts of contracts as it explains those of tests."""

import pytest

pytest.register_assert_rewrite("tests.conformance.contracts")
