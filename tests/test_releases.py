"""Where a release is found: in git's files of every shape, in a package, in the setting; and what is said where there is none."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from flask_statistics.config import SettingError
from flask_statistics.releases import release_of


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    run = subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True)
    return run.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "app").mkdir(parents=True)
    git(folder, "init")
    git(folder, "commit", "--allow-empty", "-m", "one")
    return folder


def head(folder: Path) -> str:
    return git(folder, "rev-parse", "HEAD")[:12]


def test_text_is_the_release() -> None:
    assert release_of("v42", Path("/nowhere")) == "v42"


def test_package_has_a_version() -> None:
    assert release_of("package:Flask", Path("/nowhere")) == version("Flask")


def test_commit_of_the_repository_that_has_the_app(repository: Path) -> None:
    assert release_of("git", repository / "app") == head(repository)
    git(repository, "commit", "--allow-empty", "-m", "two")
    assert release_of("git", repository) == head(repository)


def test_commit_of_packed_refs(repository: Path) -> None:
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/main").exists()
    assert release_of("git", repository) == head(repository)


def test_commit_of_a_detached_head(repository: Path) -> None:
    git(repository, "checkout", "--detach")
    assert release_of("git", repository) == head(repository)


@pytest.mark.parametrize("packed", [False, True])
def test_commit_of_a_worktree(repository: Path, tmp_path: Path, packed: bool) -> None:
    git(repository, "worktree", "add", "-b", "other/branch", str(tmp_path / "worktree"))
    git(tmp_path / "worktree", "commit", "--allow-empty", "-m", "two")
    if packed:
        git(repository, "pack-refs", "--all")
    assert release_of("git", tmp_path / "worktree") == head(tmp_path / "worktree") != head(repository)


def test_commit_of_a_ref_that_names_another(repository: Path) -> None:
    git(repository, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    (repository / ".git/HEAD").write_text("ref: refs/heads/alias\n")
    assert release_of("git", repository) == head(repository)


def test_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match=r"^STATISTICS_RELEASE is 'git', but '.*' is in no git repository: set it to "
    ):
        release_of("git", tmp_path)


def test_repository_without_a_commit_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init")
    with pytest.raises(SettingError, match="names no commit in files"):
        release_of("git", tmp_path)


def test_damaged_repository_is_refused(repository: Path) -> None:
    (repository / ".git/HEAD").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match="cannot be read"):
        release_of("git", repository)
    (repository / ".git/HEAD").unlink()
    with pytest.raises(SettingError, match="cannot be read"):
        release_of("git", repository)


def test_repository_whose_refs_go_in_circles_is_refused(repository: Path) -> None:
    (repository / ".git/refs/heads/main").write_text("ref: refs/heads/main\n")
    with pytest.raises(SettingError, match="names no commit in files"):
        release_of("git", repository)


@pytest.mark.parametrize("name", ["no-such-package", ""])
def test_package_that_is_not_installed_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"^STATISTICS_RELEASE is 'package:{name}', but no package '{name}' is inst"):
        release_of(f"package:{name}", Path("/nowhere"))
