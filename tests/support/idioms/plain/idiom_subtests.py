"""The subtests fixture: reports of its own."""

import pytest

if pytest.version_tuple < (9, 0):
    pytest.skip("the subtests fixture came with pytest 9", allow_module_level=True)


def test_subtests(subtests):
    for number in range(3):
        with subtests.test("sub", number=number):
            assert number != 1


def test_subtests_pass(subtests):
    with subtests.test("fine"):
        print("inside")


def test_subtests_late(request):
    late = request.getfixturevalue("subtests")
    for number in range(2):
        with late.test(number=number):
            pass
