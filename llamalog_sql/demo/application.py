"""The music application of the demonstration: every path through which it writes, as such an application writes.

It knows nothing of the log but the context of a transaction: `SELECT llamalog.set_context(...)`, `SET LOCAL llamalog.…`,
or `with context(...)`. Each path works on a connection of its own, as the processes of an application do.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from llamalog_sql.context import context

Connection = psycopg.Connection[Any]
Entry = dict[str, Any]

_HERE = Path(__file__).parent


def _stand_in(name: str) -> str:
    """Return what stands for the MusicBrainz id of an album or artist."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


@dataclass
class Application:
    """The application's processes.  dsn: its database.  ids: of what it has written, by title or name."""

    dsn: str
    ids: dict[str, str] = field(default_factory=dict)
    catalogue: Entry = field(
        default_factory=lambda: json.loads((_HERE / "catalogue.json").read_text("utf-8"))
    )

    def run(self) -> None:
        """Live through a day: users add, syncs run, jobs enrich and fail, administrators correct."""
        self.add_album("OK Computer", user="ann", job="add-album-1", title_as_typed="Ok computer")
        self.add_artist("Kraftwerk", user="ann", job="add-artist-1")
        self.add_album_to_collection("Homogenic", user="ben", job="collection-1")
        self.search_and_save("Kind of Blue", user="cleo", job="search-save-1")
        self.sync(
            "spotify_sync", "spotify-sync-1", ["Rumours", "Raising Sand", "Random Access Memories"]
        )
        self.sync(
            "musicbrainz_sync", "musicbrainz-sync-1", ['"Heroes"', "Dirty", "Talking Timbuktu"]
        )
        self.sync("deezer_import", "deezer-import-1", ["Mezzanine"])
        self.sync("deezer_editorial_sync", "deezer-editorial-1", ["Solid State Survivor"])
        self.sync("listenbrainz_sync", "listenbrainz-1", ["Ágætis byrjun", "Die Mensch-Maschine"])
        self.check_enrichment("enrichment-check-1", parent="add-album-1")
        self.enrich(
            "OK Computer", job="enrichment-1", parent="enrichment-check-1", root="add-album-1"
        )
        self.cache_images("OK Computer", job="cache-1", parent="enrichment-1", root="add-album-1")
        self.fail_to_enrich(
            "OK Computer", job="enrichment-2", parent="enrichment-check-1", root="add-album-1"
        )
        self.correct(
            "OK Computer", user="admin-mia", title="OK Computer", release_date="1997-05-21"
        )
        self.edit_by_hand("OK Computer", catalog_number="NODATA 02")
        self.add_to_game_pool("OK Computer", user="ben")
        self.delete("Dirty", user="admin-mia")
        self.sync_again("spotify_sync", "spotify-sync-2", "Rumours")

    # -- the paths ----------------------------------------------------------------------------------------------------

    def add_album(self, title: str, *, user: str, job: str, title_as_typed: str) -> None:
        """A user adds an album: the album, then its artists, found or created, then the links."""
        with self._writing(source="addAlbum", job_id=job, user_id=user) as conn:
            # what users type is not always right: the day of the British release, and the title in lower case
            album = self._insert_album(
                conn, title, title=title_as_typed, release_date="1997-06-16", bare=True
            )
            for name in self._entry(title)["artists"]:
                self._link_artist(conn, album, self._artist(conn, name))

    def add_artist(self, name: str, *, user: str, job: str) -> None:
        """A user adds an artist."""
        with self._writing(
            source="addArtist", job_id=job, user_id=user, operation="MANUAL_CREATE"
        ) as conn:
            self._artist(conn, name)

    def add_album_to_collection(self, title: str, *, user: str, job: str) -> None:
        """A user puts an album into a collection; it is not there yet, and is created."""
        with self._writing(source="addAlbumToCollection", job_id=job, user_id=user) as conn:
            album = self._insert_album(conn, title)
            for name in self._entry(title)["artists"]:
                self._link_artist(conn, album, self._artist(conn, name))

    def search_and_save(self, title: str, *, user: str, job: str) -> None:
        """A user saves what a search found: here the artists come first, and the album after them."""
        with self._writing(source="search_save", job_id=job, user_id=user) as conn:
            artists = [self._artist(conn, name) for name in self._entry(title)["artists"]]
            album = self._insert_album(conn, title)
            for artist in artists:
                self._link_artist(conn, album, artist)

    def sync(self, source: str, job: str, titles: list[str]) -> None:
        """A nightly sync: one job, one transaction, several albums with their tracks."""
        with self._writing(source=source, job_id=job, triggered_by="scheduler") as conn:
            for title in titles:
                album = self._insert_album(conn, title)
                for name in self._entry(title)["artists"]:
                    self._link_artist(conn, album, self._artist(conn, name))
                self._insert_tracks(conn, album, title)

    def sync_again(self, source: str, job: str, title: str) -> None:
        """The next night's sync gets an empty answer, and takes it for an album without tracks."""
        with self._writing(source=source, job_id=job, triggered_by="scheduler") as conn:
            conn.execute("DELETE FROM tracks WHERE album_id = %s", [self.ids[title]])

    def check_enrichment(self, job: str, *, parent: str) -> None:
        """A job that only decides whether another is needed: it writes no row of the catalogue."""
        with self._writing(
            source="enrichment_check", job_id=job, parent_job_id=parent, root_job_id=parent
        ):
            pass

    def enrich(self, title: str, *, job: str, parent: str, root: str) -> None:
        """A job completes an album from outside services: its fields, its tracks, who plays on them."""
        entry = self._entry(title)
        with self._writing(
            source="enrichment",
            job_id=job,
            parent_job_id=parent,
            root_job_id=root,
            sources="{MUSICBRAINZ,DISCOGS}",
        ) as conn:
            conn.execute(
                "UPDATE albums SET label = %s, genres = %s, release_country = %s, track_count = %s, duration_ms = %s,"
                " metadata = %s, data_quality = 'HIGH', enrichment_status = 'COMPLETED', last_enriched = now(),"
                " updated_at = now() WHERE id = %s",
                [
                    entry["label"],
                    entry["genres"],
                    entry["release_country"],
                    len(entry["tracks"]),
                    sum(track["duration_ms"] for track in entry["tracks"]),
                    Jsonb({"formats": ["CD", "LP"]}),
                    self.ids[title],
                ],
            )
            self._insert_tracks(conn, self.ids[title], title)

    def cache_images(self, title: str, *, job: str, parent: str, root: str) -> None:
        """A job copies the cover to the delivery network. Plain settings do, from any client."""
        with psycopg.connect(self.dsn) as conn:
            conn.execute(
                "SELECT set_config('llamalog.source', 'cache', true), set_config('llamalog.job_id', %s, true),"
                " set_config('llamalog.parent_job_id', %s, true), set_config('llamalog.root_job_id', %s, true),"
                " set_config('llamalog.operation', 'cache:album-cover-art', true)",
                [job, parent, root],
            )
            conn.execute(
                "UPDATE albums SET cloudflare_image_id = %s, updated_at = now() WHERE id = %s",
                ["cf-" + self.ids[title][:8], self.ids[title]],
            )

    def fail_to_enrich(self, title: str, *, job: str, parent: str, root: str) -> None:
        """A job meets a barcode that does not fit: its transaction rolls back, the record of its failure stays."""
        try:
            with (
                psycopg.connect(self.dsn) as conn,
                context(
                    conn,
                    source="enrichment",
                    job_id=job,
                    parent_job_id=parent,
                    root_job_id=root,
                    entity=("ALBUM", self.ids[title]),
                ),
            ):
                conn.execute(
                    "UPDATE albums SET discogs_id = '4950798' WHERE id = %s", [self.ids[title]]
                )
                conn.execute(
                    "UPDATE albums SET barcode = %s WHERE id = %s",
                    ["7 24385 52292 5 / " * 4, self.ids[title]],
                )
        except psycopg.errors.StringDataRightTruncation:
            pass  # the application's job queue would try again later

    def correct(self, album: str, *, user: str, **fields: str) -> None:
        """An administrator corrects an album in the admin screens."""
        with self._writing(
            source="admin_correction", job_id="correction-1", user_id=user, triggered_by="admin_ui"
        ) as conn:
            self._update_album(conn, album, fields)

    def edit_by_hand(self, title: str, **fields: str) -> None:
        """Somebody with a database shell edits an album, and says only that much."""
        with psycopg.connect(self.dsn, application_name="psql") as conn:
            conn.execute("SET LOCAL llamalog.source = 'manual_edit'")
            conn.execute("SET LOCAL llamalog.reason = 'number on the spine'")
            self._update_album(conn, title, fields)

    def add_to_game_pool(self, title: str, *, user: str) -> None:
        """A user proposes an album for the game."""
        with self._writing(
            source="game_pool", job_id="game-pool-1", user_id=user, operation="game-pool:added"
        ) as conn:
            self._update_album(conn, title, {"game_status": "ELIGIBLE"})

    def delete(self, title: str, *, user: str) -> None:
        """An administrator deletes an album; its tracks and links go with it."""
        with self._writing(
            source="admin_correction", job_id="deletion-1", user_id=user, reason="added twice"
        ) as conn:
            conn.execute("DELETE FROM albums WHERE id = %s", [self.ids[title]])

    # -- what the paths share -----------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, **said: str) -> Iterator[Connection]:
        """A connection, and a transaction in it that says who writes."""
        with psycopg.connect(self.dsn) as conn:
            named = ", ".join(f"{name} => %({name})s" for name in said)
            conn.execute(f"SELECT llamalog.set_context({named})".encode(), said)
            yield conn

    def _entry(self, title: str) -> Entry:
        return next(album for album in self.catalogue["albums"] if album["title"] == title)

    def _insert_album(
        self, conn: Connection, entry_title: str, *, bare: bool = False, **changed: Any
    ) -> str:
        entry = self._entry(entry_title)
        values: dict[str, Any] = {
            "title": entry["title"],
            "release_date": entry["release_date"],
            "release_type": entry["release_type"],
            "source": "USER_SUBMITTED" if bare else entry["source"],
        }
        if not bare:
            values |= {
                "label": entry["label"],
                "genres": entry["genres"],
                "release_country": entry["release_country"],
                "track_count": len(entry["tracks"]),
                "musicbrainz_id": _stand_in(entry_title),
                "data_quality": "MEDIUM",
            }
        album = self._insert(conn, "albums", values | changed)
        self.ids[entry_title] = album
        return album

    def _artist(self, conn: Connection, name: str) -> str:
        """Find or create an artist."""
        row = conn.execute("SELECT id FROM artists WHERE name = %s", [name]).fetchone()
        if row is not None:
            return str(row[0])
        entry = self.catalogue["artists"][name]
        values = {
            "name": name,
            "formed_year": entry.get("formed_year"),
            "country_code": entry.get("country_code"),
            "artist_type": entry.get("artist_type"),
            "area": entry.get("area"),
            "genres": entry.get("genres"),
            "musicbrainz_id": _stand_in(name),
            "data_quality": "MEDIUM",
        }
        self.ids[name] = self._insert(conn, "artists", values)
        return self.ids[name]

    def _link_artist(self, conn: Connection, album: str, artist: str) -> None:
        conn.execute(
            "INSERT INTO album_artists (album_id, artist_id) VALUES (%s, %s)", [album, artist]
        )

    def _insert_tracks(self, conn: Connection, album: str, title: str) -> None:
        for number, track in enumerate(self._entry(title)["tracks"], start=1):
            values = {
                "album_id": album,
                "title": track["title"],
                "track_number": number,
                "duration_ms": track["duration_ms"],
            }
            track_id = self._insert(conn, "tracks", values)
            for name in track.get("artists", []):
                conn.execute(
                    "INSERT INTO track_artists (track_id, artist_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                    [track_id, self._artist(conn, name)],
                )

    def _insert(self, conn: Connection, table: str, values: dict[str, Any]) -> str:
        names = ", ".join([*values, "updated_at"])
        marks = ", ".join(["%s"] * len(values) + ["now()"])
        row = conn.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id".encode(),
            list(values.values()),
        ).fetchone()
        assert row is not None
        return str(row[0])

    def _update_album(self, conn: Connection, title: str, fields: dict[str, str]) -> None:
        assigned = ", ".join(f"{name} = %s" for name in fields)
        conn.execute(
            f"UPDATE albums SET {assigned}, updated_at = now() WHERE id = %s".encode(),
            [*fields.values(), self.ids[title]],
        )
