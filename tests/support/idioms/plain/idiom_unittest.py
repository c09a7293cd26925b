"""unittest.TestCase and its family."""

import unittest
from unittest import mock


class Plain(unittest.TestCase):
    started = 0

    @classmethod
    def setUpClass(cls):
        cls.started += 1
        cls.addClassCleanup(print, "class cleanup")

    @classmethod
    def tearDownClass(cls):
        assert cls.started == 1

    def setUp(self):
        self.assertFalse(hasattr(self, "items"))
        self.items = []
        self.addCleanup(self.items.clear)

    def tearDown(self):
        self.assertEqual(self.items, ["one"])

    def test_items(self):
        self.items.append("one")

    def test_once_a_class(self):
        self.items.append("one")
        self.assertEqual(self.started, 1)

    def test_skip(self):
        self.items.append("one")
        self.skipTest("not today")

    @unittest.skip("never")
    def test_marked_skip(self):
        self.fail()

    @unittest.skipIf(True, "if")
    def test_skip_if(self):
        self.fail()

    @unittest.expectedFailure
    def test_expected(self):
        self.items.append("one")
        self.fail("as expected")

    @unittest.expectedFailure
    def test_unexpected_success(self):
        self.items.append("one")

    def test_fails(self):
        print("before it fails")
        self.items.append("one")
        self.assertEqual([1], [2])

    def test_error(self):
        self.items.append("one")
        raise RuntimeError("an error")

    @mock.patch("os.getlogin", return_value="nobody")
    def test_patched(self, getlogin):
        import os

        self.items.append("one")
        self.assertEqual(os.getlogin(), "nobody")
        getlogin.assert_called_once_with()


class Broken(unittest.TestCase):
    def test_cleanup(self):
        self.addCleanup(self.fail, "in a cleanup")

    def test_exit(self):
        raise SystemExit(3)


class BrokenClass(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError("no class")

    def test_never(self):
        self.fail("not reached")


@unittest.skip("whole class")
class Skipped(unittest.TestCase):
    def test_never(self):
        self.fail("not reached")


class SubTests(unittest.TestCase):
    def test_sub(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertLess(number, 3)

    def test_sub_fails(self):
        for number in range(4):
            with self.subTest(number=number):
                self.assertEqual(number % 2, 0)


class Asynchronous(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.opened = True
        self.addAsyncCleanup(self.close)

    async def close(self):
        self.opened = False

    async def test_awaited(self):
        self.assertTrue(self.opened)

    def test_not_awaited(self):
        self.assertTrue(self.opened)

    async def test_awaited_fails(self):
        self.assertFalse(self.opened)


class WithFixtures(unittest.TestCase):
    import pytest

    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.path = tmp_path
        (tmp_path / "made").mkdir()

    def test_place(self):
        self.assertEqual([entry.name for entry in self.path.iterdir()], ["made"])
