"""Sites that windows take together, against what is told by hand."""

from __future__ import annotations

import numpy as np

from pydiffgeo.data.groups import Apart, Cells, Rivers

# 0 and 1 flow into 2, which flows into 3; 4 is alone
BELOW = np.array([2, 2, 3, -1, -1])
# 0, 2 and 4 share a cell; 1 and 3 have one each
CELL = np.array([0, 1, 0, 3, 0])
WHOLE = np.array([True, True, True, True, True])


def test_sites_by_themselves() -> None:
    one = Apart()
    rows, begin = one.members(np.array([3, 1]), np.array([7, 5]))
    assert rows.tolist() == [3, 1] and begin.tolist() == [7, 5]
    assert [p.tolist() for p in one.parts(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]
    assert one.without(np.array([0, 2, 0])).tolist() == [0, 2]
    assert one.complete(WHOLE) is WHOLE and one.identity() == b""


def test_a_gauge_comes_with_all_sites_above_it() -> None:
    rivers = Rivers(BELOW)
    rows, begin = rivers.members(np.array([2]), np.array([7]))
    assert rows.tolist() == [0, 1, 2] and begin.tolist() == [7, 7, 7]
    missing = WHOLE.copy()
    missing[1] = False  # and so all below it
    assert rivers.complete(missing).tolist() == [True, False, False, False, True]
    assert [p.tolist() for p in rivers.parts(np.arange(5), 2)] == [[0, 1, 2, 3], [4]]
    # a window of the second step is seen at site 2, where its tributary 0 lacks forcing
    valid, whole = np.zeros((5, 2), bool), np.ones((5, 2), bool)
    valid[2], whole[0, 1] = True, False
    assert rivers.starts(valid, whole)[2].tolist() == [True, False]
    # nothing is observed: outlets stand for the sites above them
    unseen = rivers.starts(np.zeros((5, 2), bool), np.ones((5, 2), bool))
    assert unseen.all(1).tolist() == [False, False, False, True, True]


def test_the_first_site_of_a_cell_stands_for_all() -> None:
    cells = Cells(CELL)
    rows, begin = cells.members(np.array([3, 0]), np.array([7, 5]))
    assert rows.tolist() == [3, 0, 2, 4] and begin.tolist() == [7, 5, 5, 5]
    assert [p.tolist() for p in cells.parts(np.arange(5), 2)] == [[0, 2, 4, 1], [3]]
    missing = WHOLE.copy()
    missing[2] = False
    assert cells.complete(missing).tolist() == [False, True, False, True, False]
    assert cells.without(np.array([1, 0, 0, 2, 0])).tolist() == [1]
    # seen at site 4 alone, and site 2 lacks forcing in the second step
    valid, whole = np.zeros((5, 2), bool), np.ones((5, 2), bool)
    valid[4], whole[2, 1] = True, False
    assert cells.starts(valid, whole)[0].tolist() == [True, False]
