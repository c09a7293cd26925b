"""Unpacking what anybody may have written: nothing lands outside, and no more than agreed."""

import gzip
import io
import os
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.collect import archive
from pytest_joules.collect.failure import Failed

LIMIT = 1 << 20


def tar_of(path, *members):
    """An archive of ``(name, bytes)`` for files, ``(name, None)`` for folders, ``(name, kind, target)`` for the rest."""
    with tarfile.open(path, "w:gz") as tar:
        for name, *rest in members:
            info = tarfile.TarInfo(name)
            if len(rest) == 2:
                info.type, info.linkname = rest
                tar.addfile(info)
            elif rest[0] is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(rest[0])
                tar.addfile(info, io.BytesIO(rest[0]))
    return path


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return path


def everything(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


class TestUnpack:
    def test_a_source_distribution(self, tmp_path):
        packed = tar_of(tmp_path / "p.tar.gz", ("p-1", None), ("p-1/PKG-INFO", b"Name: p\n"), ("p-1/tests/test_p.py", b"x = 1\n"))
        top = archive.unpack(packed, tmp_path / "out", LIMIT)
        assert top == tmp_path / "out" / "p-1"
        assert everything(top) == {"PKG-INFO", "tests", "tests/test_p.py"}
        assert (top / "tests" / "test_p.py").read_bytes() == b"x = 1\n"

    def test_a_zip(self, tmp_path):
        packed = zip_of(tmp_path / "p.zip", ("p-1/PKG-INFO", "Name: p\n"), ("p-1/a/b.py", "x = 1\n"))
        assert everything(archive.unpack(packed, tmp_path / "out", LIMIT)) == {"PKG-INFO", "a", "a/b.py"}

    def test_without_a_folder_of_its_own(self, tmp_path):
        packed = tar_of(tmp_path / "p.tar.gz", ("a.py", b""), ("b.py", b""))
        assert archive.unpack(packed, tmp_path / "out", LIMIT) == tmp_path / "out"

    def test_links_that_stay_inside(self, tmp_path):
        packed = tar_of(tmp_path / "p.tar.gz", ("p/a/x.txt", b"hello"), ("p/b", tarfile.SYMTYPE, "a/x.txt"))
        assert (archive.unpack(packed, tmp_path / "out", LIMIT) / "b").read_text() == "hello"

    @pytest.mark.parametrize("name", ["../evil.py", "p/../../evil.py", "/tmp/evil.py", "p/a/../../../evil.py"])
    @pytest.mark.parametrize("make", [tar_of, zip_of])
    def test_paths_that_lead_out(self, tmp_path, name, make):
        packed = make(tmp_path / ("p.zip" if make is zip_of else "p.tar.gz"), ("p/a.py", b""), (name, b"x"))
        before = everything(tmp_path)
        with pytest.raises(Failed, match="outside") as failed:
            archive.unpack(packed, tmp_path / "in" / "out", LIMIT)
        assert failed.value.reason == "bad archive"
        assert not [path for path in everything(tmp_path) - before if "evil" in path]

    @pytest.mark.parametrize(
        "links",
        [
            [("p/l", "/etc")],
            [("p/l", "../..")],
            # Each for itself stays inside.
            [("p/a/b/c", "../.."), ("p/a/b/c/x", "../../../y")],
            [("p/a/b/c", "../.."), ("p/z", "a/b/c/../../x")],
        ],
    )
    def test_links_that_lead_out(self, tmp_path, links):
        members = [(name, tarfile.SYMTYPE, target) for name, target in links]
        packed = tar_of(tmp_path / "p.tar.gz", ("p/a/b/f.py", b""), *members)
        with pytest.raises(Failed, match="leads outside"):
            archive.unpack(packed, tmp_path / "out", LIMIT)
        root = (tmp_path / "out").resolve()
        assert all(path.resolve().is_relative_to(root) for path in root.rglob("*"))

    def test_no_file_is_written_through_a_link(self, tmp_path):
        (tmp_path / "target").mkdir()
        packed = tar_of(tmp_path / "p.tar.gz", ("p/l", tarfile.SYMTYPE, str(tmp_path / "target")), ("p/l/evil.py", b"x"))
        with pytest.raises(Failed):
            archive.unpack(packed, tmp_path / "out", LIMIT)
        assert everything(tmp_path / "target") == set()

    @pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
    def test_what_is_neither_file_nor_folder(self, tmp_path, kind):
        packed = tar_of(tmp_path / "p.tar.gz", ("p/a.py", b""), ("p/x", kind, "p/a.py"))
        with pytest.raises(Failed, match="p/x"):
            archive.unpack(packed, tmp_path / "out", LIMIT)

    @pytest.mark.parametrize("make", [tar_of, zip_of])
    def test_a_bomb(self, tmp_path, make):
        packed = make(tmp_path / ("p.zip" if make is zip_of else "p.tar.gz"), ("p/zeros", bytes(8 * LIMIT)))
        assert packed.stat().st_size < LIMIT
        with pytest.raises(Failed, match="disk limit"):
            archive.unpack(packed, tmp_path / "out", LIMIT)
        assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) <= LIMIT

    def test_a_bomb_in_a_header(self, tmp_path):
        # A long name of 64 MiB: the header is read before any member is seen.
        header = tarfile.TarInfo("././@LongLink")
        header.type, header.size = tarfile.GNUTYPE_LONGNAME, 64 << 20
        with gzip.open(tmp_path / "p.tar.gz", "wb") as file:
            file.write(header.tobuf() + bytes(header.size))
        with pytest.raises(Failed, match="disk limit"):
            archive.unpack(tmp_path / "p.tar.gz", tmp_path / "out", LIMIT)

    def test_too_many_members(self, tmp_path, monkeypatch):
        monkeypatch.setattr(archive, "MOST_MEMBERS", 10)
        with pytest.raises(Failed, match="more than 10 members"):
            archive.unpack(tar_of(tmp_path / "p.tar.gz", *((f"p/{n}", b"") for n in range(11))), tmp_path / "out", LIMIT)

    def test_an_archive_larger_than_the_limit(self, tmp_path):
        (tmp_path / "p.tar.gz").write_bytes(os.urandom(100))
        with pytest.raises(Failed, match="100 bytes"):
            archive.unpack(tmp_path / "p.tar.gz", tmp_path / "out", 99)

    @given(content=st.binary(max_size=200), suffix=st.sampled_from(archive.SUFFIXES))
    def test_anything_else_is_one_sentence(self, tmp_path_factory, content, suffix):
        folder = tmp_path_factory.mktemp("any")
        (folder / f"p{suffix}").write_bytes(content)
        with pytest.raises(Failed):
            archive.unpack(folder / f"p{suffix}", folder / "out", LIMIT)

    @given(cut=st.integers(1, 400))
    def test_a_truncated_or_damaged_one(self, tmp_path_factory, cut):
        folder = tmp_path_factory.mktemp("cut")
        whole = tar_of(folder / "p.tar.gz", ("p/a.py", os.urandom(300)), ("p/b.py", b"y" * 300)).read_bytes()
        (folder / "p.tar.gz").write_bytes(whole[: max(1, len(whole) - cut)])
        with pytest.raises(Failed, match=r"p\.tar\.gz"):
            archive.unpack(folder / "p.tar.gz", folder / "out", LIMIT)


class TestCopy:
    def test_without_environments_and_caches(self, tmp_path):
        source = tmp_path / "project"
        for name in ("a.py", "tests/test_a.py", ".git/config", "__pycache__/a.pyc", "mine/pyvenv.cfg", "mine/lib/x.py"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text("x")
        assert everything(archive.copy(source, tmp_path / "copy", LIMIT)) == {"a.py", "tests", "tests/test_a.py"}

    def test_into_itself(self, tmp_path):
        (tmp_path / "a.py").write_text("x")
        copied = archive.copy(tmp_path, tmp_path / "data" / "work" / "copy", LIMIT)
        assert (copied / "a.py").exists() and not (copied / "data" / "work" / "copy").exists()

    def test_too_large(self, tmp_path):
        (tmp_path / "project").mkdir()
        (tmp_path / "project" / "a").write_bytes(bytes(200))
        with pytest.raises(Failed, match="larger than the disk limit"):
            archive.copy(tmp_path / "project", tmp_path / "copy", 100)
