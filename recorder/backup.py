"""`proc_recorder.py --backup FILE`: the database, files of messages and browser profiles as one archive, and
`--restore FILE`: an installation from it. Progress goes to standard output, one JSON object a line.

The archive is a tar file: `manifest.json`, `database.dump` (pg_dump), `media/…`, `sessions/…`, and `end.json`, which
shows that it is whole. Secrets are in it as they are in the database: sealed. The key is not.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile, TemporaryDirectory
from typing import Any, Final

from recorder.command_context import run_command
from shared.clock import utc_now
from shared.errors import BulkheadError, MigrationRefused, SettingsInvalid, StoreUnavailable
from shared.process.exit_codes import ExitCode
from shared.secrets import Sealed, SecretUnreadable, Vault
from shared.settings import Settings, load
from shared.store import dumps, migrate
from shared.store.dumps import DumpFailed
from shared.store.store import Store
from shared.timestamps import iso

FORMAT: Final = 1
"""Version of the archive's form."""
UNWELL: Final = 1
"""Exit code: refused; nothing was changed."""
_PARTS: Final = ("media", "sessions")
"""Folders of the home that belong to a backup."""
_CACHES: Final = frozenset(
    {
        "Cache",
        "Code Cache",
        "GPUCache",
        "DawnGraphiteCache",
        "DawnWebGPUCache",
        "ShaderCache",
        "GrShaderCache",
        "GraphiteDawnCache",
        "Crashpad",
        "BrowserMetrics",
    }
)
"""Folders of a browser's profile that it makes anew."""
_IN_MEMORY: Final = 8 * 1024 * 1024
"""Bytes of a file that are held in memory while it is copied."""
_CHUNK: Final = 1024 * 1024
_EACH_FILES: Final = 50
"""Files between two lines about progress."""
_CONTEXT: Final = "backup"
_PROOF: Final = "the key of this backup"
"""What is sealed into the manifest, nothing secret: it shows whether a key is the right one."""


class ArchiveUnusable(BulkheadError):
    """Raised when an archive is none, is torn, or does not fit this installation."""


def backup(words: Sequence[str]) -> int:
    """Write an archive, and return an exit code (`ExitCode`, or `UNWELL`)."""
    parser = ArgumentParser(prog="bulkhead backup")
    parser.add_argument("file", type=Path)
    parser.add_argument("--programs", type=Path, default=None)
    parser.add_argument("--version", default="")
    parser.add_argument("--without-profiles", action="store_true")
    return run_command("backup", partial(_backup, given=parser.parse_args(words)))


def _backup(store: Store, settings: Settings, *, given: Namespace) -> int:
    partial_file = given.file.with_name(f"{given.file.name}.partial")
    try:
        with TemporaryDirectory(prefix=".bulkhead-backup-", dir=given.file.parent) as folder:
            _say("database")
            dumped = Path(folder) / "database.dump"
            dumps.dump(settings.database_url, dumped, given.programs)
            manifest = _manifest(settings, given, dumped)
            # private: what customers wrote is in it
            with (
                os.fdopen(os.open(partial_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as raw,
                tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive,
            ):
                _add_text(archive, "manifest.json", manifest)
                archive.add(dumped, "database.dump")
                count = _add_files(archive, settings, with_profiles=not given.without_profiles)
                _add_text(archive, "end.json", {"files": count})
                archive.close()
                raw.flush()
                os.fsync(raw.fileno())
            partial_file.rename(given.file)
    except (DumpFailed, OSError) as problem:
        partial_file.unlink(missing_ok=True)
        sys.stderr.write(f"no backup was written: {problem}\n")
        return UNWELL
    _say("done", files=count, bytes=given.file.stat().st_size, mediaElsewhere=not _is_local(settings))
    return ExitCode.OK


def _manifest(settings: Settings, given: Namespace, dumped: Path) -> dict[str, Any]:
    vault = Vault.from_settings(settings)
    return {
        "format": FORMAT,
        "madeBy": given.version,
        "at": iso(utc_now()),
        "host": os.uname().nodename,
        "databaseBytes": dumped.stat().st_size,
        # after the dump, so that no position in it is later
        "position": dumps.one(settings.database_url, "event_position")["position"],
        "migrations": dumps.column(settings.database_url, "applied_migrations"),
        "keyId": vault.key_id,
        "keyProof": vault.seal(_PROOF, context=_CONTEXT).to_text(),
        "media": "files" if _is_local(settings) else "elsewhere",
        "profiles": not given.without_profiles,
    }


def _add_files(archive: tarfile.TarFile, settings: Settings, *, with_profiles: bool) -> int:
    parts = [part for part in _PARTS if part != "sessions" or with_profiles]
    paths = [path for part in parts for path in _files_below(settings.path(part))]
    count = 0
    for path in paths:
        count += _add_file(archive, path, str(path.relative_to(settings.bulkhead_home)))
        if not count % _EACH_FILES:
            _say("files", done=count, total=len(paths))
    _say("files", done=count, total=len(paths))
    return count


def _files_below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _CACHES)
        yield from (path for name in sorted(names) if (path := Path(place) / name).is_file() and not path.is_symlink())


def _add_file(archive: tarfile.TarFile, path: Path, name: str) -> bool:
    """Add one file as it is now; False when it is gone."""
    try:
        with path.open("rb") as source, SpooledTemporaryFile(_IN_MEMORY) as copy:
            info = archive.gettarinfo(arcname=name, fileobj=source)
            # a copy first: a browser may change the file while it is read, and its size stands before its content
            info.size = 0
            while chunk := source.read(_CHUNK):
                info.size += copy.write(chunk)
            copy.seek(0)
            archive.addfile(info, copy)
            return True
    except FileNotFoundError:
        return False


def _add_text(archive: tarfile.TarFile, name: str, value: Any) -> None:
    text = json.dumps(value, indent=2).encode()
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(text), 0o600
    archive.addfile(info, BytesIO(text))


def restore(words: Sequence[str]) -> int:
    """Make an installation from an archive in an empty home and an empty database; returns an exit code (`ExitCode`, or
    `UNWELL`).
    """
    parser = ArgumentParser(prog="bulkhead restore")
    parser.add_argument("file", type=Path)
    parser.add_argument("--programs", type=Path, default=None)
    parser.add_argument("--without-key", action="store_true")
    given = parser.parse_args(words)
    try:
        _restore(load(), given)
    except SettingsInvalid as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return ExitCode.CONFIGURATION
    except StoreUnavailable as error:
        sys.stderr.write(f"{error}\nStart PostgreSQL and try again.\n")
        return ExitCode.BOOT
    except (ArchiveUnusable, DumpFailed, MigrationRefused, tarfile.TarError, OSError) as problem:
        sys.stderr.write(f"nothing was restored: {problem}\n")
        return UNWELL
    return ExitCode.OK


def _restore(settings: Settings, given: Namespace) -> None:
    with tarfile.open(given.file, "r:") as archive, TemporaryDirectory(dir=settings.bulkhead_home) as folder:
        members = archive.getmembers()
        manifest = _read_manifest(archive, members)
        _require_fitting(settings, manifest, without_key=given.without_key)
        _say("database")
        dumped = Path(folder) / "database.dump"
        _copy(archive, _named(members, "database.dump"), dumped)
        dumps.load(settings.database_url, dumped, given.programs)
        paused = dumps.finish_load(
            settings.database_url,
            position=manifest["position"],
            reason=f"restored from a backup of {manifest['at']}: what waits may have been sent since",
        )
        migrate.apply(settings.database_url, requires_row_security=settings.row_security == "required")
        count = _extract(archive, members, settings.bulkhead_home)
    _say("done", files=count, paused=paused, at=manifest["at"], mediaElsewhere=manifest["media"] == "elsewhere")


def _read_manifest(archive: tarfile.TarFile, members: Sequence[tarfile.TarInfo]) -> dict[str, Any]:
    """Return what a whole archive says about itself. Raises `ArchiveUnusable`."""
    if not members or members[0].name != "manifest.json":
        raise ArchiveUnusable("this is no backup of `bulkhead backup`")
    if members[-1].name != "end.json":
        raise ArchiveUnusable("the backup is torn: its end is missing; copy it again, or take an earlier one")
    manifest: dict[str, Any] = json.loads(_content(archive, members[0]))
    if manifest["format"] > FORMAT:
        raise ArchiveUnusable(f"the backup was made by a later version ({manifest['madeBy']}); install that one")
    return manifest


def _require_fitting(settings: Settings, manifest: dict[str, Any], *, without_key: bool) -> None:
    """Raise `ArchiveUnusable` unless the archive can be restored with these settings into this database."""
    known = {path.name.removesuffix(".sql") for path in migrate.migrations_directory().glob("*.sql")}
    if later := sorted(set(manifest["migrations"]) - known):
        raise ArchiveUnusable(
            f"the backup was made by a later version ({manifest['madeBy']}, with {later[-1]}); install that one"
        )
    try:
        Vault.from_settings(settings).open(Sealed.from_text(manifest["keyProof"]), context=_CONTEXT)
    except SecretUnreadable:
        if not without_key:
            raise ArchiveUnusable(
                f"its secrets are sealed with the key {manifest['keyId']!r}, which is not in it and not here: put the "
                "old home's `secret_key` into this home, or set SECRET_KEY_ID and SECRET_ENCRYPTION_KEY; with "
                "--without-key, every connection needs its credentials again"
            ) from None
    if there := dumps.column(settings.database_url, "own_relations"):
        raise ArchiveUnusable(
            f"the database is not empty ({', '.join(there)}, …): a restore changes nothing that exists. Make an empty "
            "one (createdb) and set DATABASE_URL"
        )


def _extract(archive: tarfile.TarFile, members: Sequence[tarfile.TarInfo], home: Path) -> int:
    """Write the files of an archive, and nothing outside of their folders."""
    files = [member for member in members if member.isfile() and PurePosixPath(member.name).parts[0] in _PARTS]
    for number, member in enumerate(files, start=1):
        parts = PurePosixPath(member.name).parts
        if ".." in parts or PurePosixPath(member.name).is_absolute():
            raise ArchiveUnusable(f"the backup has a file outside of its folders: {member.name!r}")
        target = home.joinpath(*parts)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(archive, member, target)
        os.utime(target, (member.mtime, member.mtime))
        if not number % _EACH_FILES or number == len(files):
            _say("files", done=number, total=len(files))
    return len(files)


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = archive.extractfile(member)
    if source is None:
        raise ArchiveUnusable(f"{member.name} is no file")
    with source, os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = archive.extractfile(member)
    return b"" if source is None else source.read()


def _named(members: Sequence[tarfile.TarInfo], name: str) -> tarfile.TarInfo:
    found = next((member for member in members if member.name == name), None)
    if found is None:
        raise ArchiveUnusable(f"the backup has no {name}")
    return found


def _is_local(settings: Settings) -> bool:
    return not settings.media_storage.startswith("s3://")


def _say(stage: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"stage": stage, **facts}) + "\n")
    sys.stdout.flush()
