"""The catalogue keeps its own shape; that it is true to the records, only a reader can tell."""

import json
import unicodedata
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

CATALOGUE_PATH = Path(__file__).parents[1] / "llamalog_sql" / "demo" / "catalogue.json"
CATALOGUE = json.loads(CATALOGUE_PATH.read_text(encoding="utf-8"))
ALBUMS = CATALOGUE["albums"]
ARTISTS = CATALOGUE["artists"]

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS

ALBUM_KEYS = {
    "title",
    "artists",
    "release_date",
    "release_type",
    "label",
    "catalog_number",
    "release_country",
    "genres",
    "source",
    "tracks",
}
ARTIST_KEYS = {"formed_year", "country_code", "artist_type", "area", "genres"}
CONTENT_SOURCES = {
    "DEEZER",
    "DISCOGS",
    "LISTENBRAINZ",
    "MUSICBRAINZ",
    "SPOTIFY",
    "YOUTUBE",
    "BANDCAMP",
    "SOUNDCLOUD",
    "USER_SUBMITTED",
}
# Minutes and seconds published for the whole record, found apart from the lengths of its tracks.
PUBLISHED_TOTALS = {
    "I Never Loved a Man the Way I Love You": (32, 51),
    "Dirty": (58, 45),
    "Talking Timbuktu": (60, 4),
    "OK Computer": (53, 21),
    "Mezzanine": (63, 29),
    "Madvillainy": (46, 8),
}

each_album = pytest.mark.parametrize("album", ALBUMS, ids=lambda album: album["title"])


def credited(album):
    """Every artist named on the album or on one of its tracks."""
    return {*album["artists"], *(name for t in album["tracks"] for name in t.get("artists", []))}


def total_ms(album):
    return sum(track["duration_ms"] for track in album["tracks"])


@each_album
def test_every_album_has_the_documented_keys(album):
    assert set(album) == ALBUM_KEYS
    assert album["title"]
    assert album["artists"]
    assert album["label"]
    assert album["genres"]
    for track in album["tracks"]:
        assert set(track) - {"artists"} == {"title", "duration_ms"}
        assert track["title"]


@each_album
def test_album_values_fit_the_columns_of_the_schema(album):
    assert date(1900, 1, 1) < date.fromisoformat(album["release_date"]) < date(2025, 1, 1)
    assert album["release_type"] in {"ALBUM", "EP", "SINGLE"}
    assert len(album["release_country"]) == 2
    assert album["source"] in CONTENT_SOURCES
    for title in [album["title"], *(track["title"] for track in album["tracks"])]:
        assert len(title) <= 255


@each_album
def test_every_credited_artist_has_an_entry(album):
    assert credited(album) - set(ARTISTS) == set()


def test_every_artist_entry_is_credited_somewhere():
    assert set(ARTISTS) - set().union(*map(credited, ALBUMS)) == set()


@pytest.mark.parametrize("name", ARTISTS)
def test_every_artist_has_the_documented_keys(name):
    artist = ARTISTS[name]
    assert set(artist) == ARTIST_KEYS
    assert artist["artist_type"] in {"GROUP", "PERSON"}
    assert artist["country_code"] is None or len(artist["country_code"]) == 2
    assert artist["genres"]


def test_only_groups_have_a_formed_year():
    persons = [name for name, artist in ARTISTS.items() if artist["artist_type"] == "PERSON"]
    assert [name for name in persons if ARTISTS[name]["formed_year"] is not None] == []


def test_no_group_was_formed_after_its_record():
    for album in ALBUMS:
        for name in album["artists"]:
            formed_year = ARTISTS[name]["formed_year"]
            assert formed_year is None or formed_year <= int(album["release_date"][:4]), name


def test_no_two_albums_share_a_title():
    assert [title for title, n in Counter(a["title"] for a in ALBUMS).items() if n > 1] == []


@each_album
def test_no_two_tracks_of_an_album_share_a_title(album):
    assert [t for t, n in Counter(t["title"] for t in album["tracks"]).items() if n > 1] == []


@each_album
def test_a_track_names_its_artists_only_where_they_differ(album):
    for track in album["tracks"]:
        assert track.get("artists") != album["artists"], track["title"]


@each_album
def test_every_track_lasts_between_20_seconds_and_30_minutes(album):
    for track in album["tracks"]:
        assert 20 * SECOND_MS <= track["duration_ms"] <= 30 * MINUTE_MS, track["title"]


@each_album
def test_every_album_would_fit_on_one_disc(album):
    assert 25 * MINUTE_MS <= total_ms(album) <= 80 * MINUTE_MS


@pytest.mark.parametrize("title", PUBLISHED_TOTALS)
def test_track_lengths_add_up_to_the_published_total(title):
    (album,) = [album for album in ALBUMS if album["title"] == title]
    minutes, seconds = PUBLISHED_TOTALS[title]
    published_ms = minutes * MINUTE_MS + seconds * SECOND_MS
    assert abs(total_ms(album) - published_ms) <= 5 * SECOND_MS


def test_file_is_plain_utf8_in_composed_form():
    text = CATALOGUE_PATH.read_text(encoding="utf-8")
    assert "\\u" not in text
    assert unicodedata.is_normalized("NFC", text)


def test_catalogue_holds_the_names_that_break_careless_code():
    titles = [t["title"] for album in ALBUMS for t in album["tracks"]]
    titles += [album["title"] for album in ALBUMS]
    for mark in ("'", '"', "%", "¿", "ð"):
        assert any(mark in title for title in titles), mark
    assert any(len(album["artists"]) == 2 for album in ALBUMS)
    assert any("artists" in track for album in ALBUMS for track in album["tracks"])
