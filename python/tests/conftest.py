"""What the tests share: a session with a table of users, and a batch of trades."""

import pyarrow as pa
import pytest

import fletching as fl


@pytest.fixture
def session():
    return fl.Session(threads=2)


@pytest.fixture
def users():
    return pa.table({"user_id": [1, 2, 3], "tier": ["gold", "silver", None]})


@pytest.fixture
def with_users(session, users):
    session.table("users", users, key="user_id")
    return session


@pytest.fixture
def trades():
    return pa.record_batch({"trade_id": [10, 11, 12, 13], "user_id": [2, 9, 1, 3]})
