-- The music application's tables as its ORM (Prisma) makes them: quoted CamelCase enums, unique
-- indexes instead of unique constraints, and an updated_at without default, set by the application.

CREATE TYPE "DataQuality" AS ENUM (
    'LOW',
    'MEDIUM',
    'HIGH'
);

CREATE TYPE "EnrichmentStatus" AS ENUM (
    'UNENRICHED',
    'IN_PROGRESS',
    'COMPLETED',
    'FAILED',
    'SUCCESS',
    'PARTIAL_SUCCESS',
    'NO_DATA_AVAILABLE',
    'SKIPPED',
    'PREVIEW',
    'QUEUED',
    'BASIC'
);

CREATE TYPE "ContentSource" AS ENUM (
    'DEEZER',
    'DISCOGS',
    'LISTENBRAINZ',
    'MUSICBRAINZ',
    'SPOTIFY',
    'YOUTUBE',
    'BANDCAMP',
    'SOUNDCLOUD',
    'USER_SUBMITTED'
);

CREATE TYPE "EnrichmentEntityType" AS ENUM (
    'ARTIST',
    'ALBUM',
    'TRACK'
);

CREATE TYPE "AlbumGameStatus" AS ENUM (
    'ELIGIBLE',
    'EXCLUDED',
    'NONE'
);

CREATE TABLE "User" (
    id text PRIMARY KEY,
    role text NOT NULL DEFAULT 'USER'
);

CREATE TABLE albums (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    musicbrainz_id uuid,
    title varchar(255) NOT NULL,
    release_date date,
    release_type varchar(50),
    track_count integer,
    duration_ms integer,
    cover_art_url text,
    barcode varchar(50),
    label varchar(255),
    catalog_number varchar(100),
    search_vector tsvector,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL,
    data_quality "DataQuality" DEFAULT 'LOW',
    enrichment_status "EnrichmentStatus" DEFAULT 'UNENRICHED',
    last_enriched timestamp(3),
    genres text[],
    secondary_types text[],
    release_country varchar(2),
    release_status varchar(20),
    spotify_id varchar(50),
    spotify_url text,
    discogs_id varchar(20),
    source "ContentSource" NOT NULL DEFAULT 'MUSICBRAINZ',
    source_url text,
    submitted_by uuid,
    cloudflare_image_id text,
    metadata jsonb,
    game_status "AlbumGameStatus" NOT NULL DEFAULT 'NONE',
    deezer_id text
);

CREATE UNIQUE INDEX albums_musicbrainz_id_key ON albums (musicbrainz_id);
CREATE UNIQUE INDEX albums_spotify_id_key ON albums (spotify_id);
CREATE UNIQUE INDEX albums_deezer_id_key ON albums (deezer_id);
CREATE INDEX albums_title_idx ON albums (title);
CREATE INDEX albums_release_date_idx ON albums (release_date);
CREATE INDEX albums_musicbrainz_id_idx ON albums (musicbrainz_id);
CREATE INDEX albums_source_idx ON albums (source);
CREATE INDEX albums_search_vector_idx ON albums USING gin (search_vector);

CREATE TABLE artists (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    musicbrainz_id uuid,
    name varchar(255) NOT NULL,
    biography text,
    formed_year integer,
    country_code varchar(2),
    image_url text,
    search_vector tsvector,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL,
    data_quality "DataQuality" DEFAULT 'LOW',
    enrichment_status "EnrichmentStatus" DEFAULT 'UNENRICHED',
    last_enriched timestamp(3),
    spotify_id text,
    artist_type varchar(20),
    genres text[],
    area varchar(100),
    discogs_id varchar(20),
    source "ContentSource" NOT NULL DEFAULT 'MUSICBRAINZ',
    source_url text,
    submitted_by uuid,
    cloudflare_image_id text,
    deezer_id text
);

CREATE UNIQUE INDEX artists_musicbrainz_id_key ON artists (musicbrainz_id);
CREATE UNIQUE INDEX artists_spotify_id_key ON artists (spotify_id);
CREATE UNIQUE INDEX artists_deezer_id_key ON artists (deezer_id);
CREATE INDEX artists_name_idx ON artists (name);
CREATE INDEX artists_search_vector_idx ON artists USING gin (search_vector);

CREATE TABLE tracks (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    album_id uuid NOT NULL,
    musicbrainz_id uuid,
    isrc varchar(12),
    title varchar(255) NOT NULL,
    track_number integer NOT NULL,
    disc_number integer NOT NULL DEFAULT 1,
    duration_ms integer,
    explicit boolean,
    preview_url text,
    energy double precision,
    valence double precision,
    danceability double precision,
    acousticness double precision,
    instrumentalness double precision,
    liveness double precision,
    speechiness double precision,
    loudness double precision,
    tempo double precision,
    key_signature integer,
    mode integer,
    time_signature integer,
    search_vector tsvector,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL,
    last_enriched timestamp(3),
    spotify_id text,
    spotify_url text,
    youtube_url text,
    discogs_position varchar(10),
    discogs_release_id varchar(20),
    source "ContentSource" NOT NULL DEFAULT 'MUSICBRAINZ',
    source_url text,
    submitted_by uuid,
    data_quality "DataQuality" NOT NULL DEFAULT 'LOW',
    enrichment_status "EnrichmentStatus" NOT NULL DEFAULT 'UNENRICHED',
    deezer_id text,
    CONSTRAINT tracks_album_id_fkey
        FOREIGN KEY (album_id) REFERENCES albums (id) ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE UNIQUE INDEX tracks_album_id_musicbrainz_id_key ON tracks (album_id, musicbrainz_id);
CREATE UNIQUE INDEX tracks_spotify_id_key ON tracks (spotify_id);
CREATE UNIQUE INDEX tracks_deezer_id_key ON tracks (deezer_id);
CREATE INDEX tracks_search_vector_idx ON tracks USING gin (search_vector);

CREATE TABLE album_artists (
    album_id uuid NOT NULL,
    artist_id uuid NOT NULL,
    role varchar(50) NOT NULL DEFAULT 'primary',
    position integer,
    PRIMARY KEY (album_id, artist_id, role),
    CONSTRAINT album_artists_album_id_fkey
        FOREIGN KEY (album_id) REFERENCES albums (id) ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT album_artists_artist_id_fkey
        FOREIGN KEY (artist_id) REFERENCES artists (id) ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE INDEX album_artists_artist_id_idx ON album_artists (artist_id);

CREATE TABLE track_artists (
    track_id uuid NOT NULL,
    artist_id uuid NOT NULL,
    role varchar(50) NOT NULL DEFAULT 'primary',
    position integer,
    PRIMARY KEY (track_id, artist_id, role),
    CONSTRAINT track_artists_track_id_fkey
        FOREIGN KEY (track_id) REFERENCES tracks (id) ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT track_artists_artist_id_fkey
        FOREIGN KEY (artist_id) REFERENCES artists (id) ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE INDEX track_artists_artist_id_idx ON track_artists (artist_id);
