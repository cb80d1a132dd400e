"""The short storm: the long one is ./launch.sh torture --minutes N."""

import random

from tests.torture.storm import storm


def test_nothing_is_lost_in_a_short_storm(tmp_path):
    books = storm(minutes=1.0, kills=20, seed=random.randrange(2**32), folder=tmp_path)
    print(books.say())
    assert not books.wrong, books.wrong
    assert books.runs >= 1 and sum(books.kills.values()) >= 5 and books.acknowledged and not books.lost
