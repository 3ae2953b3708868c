"""How the dashboard's rows lie in a store that SQL can ask: tables, indexes, counters, search.

What triggers keep is arithmetic over rows (what replaced what, how many per hour, when the next renewal is expected); no
trigger decides about a certificate's status, which comes with the row from the lifecycle.

A renewal is expected at two thirds of the lifetime; where a lineage has renewed before, at the part of the lifetime at
which it did so last, between a third and nine tenths. ``late_at`` is a twentieth of the lifetime after that.
"""

from __future__ import annotations

from quicklime.services.monitor.view import rows

SCHEMA = """
CREATE TABLE certificates (
    offset INTEGER PRIMARY KEY,
    serial TEXT NOT NULL, plan_offset INTEGER NOT NULL, issuer TEXT NOT NULL, profile TEXT NOT NULL,
    names TEXT NOT NULL, label TEXT NOT NULL, node TEXT,
    not_before INTEGER NOT NULL, not_after INTEGER NOT NULL, renewable_until INTEGER NOT NULL, issued_at INTEGER NOT NULL,
    requester_kind TEXT NOT NULL, requester_id TEXT NOT NULL, requester_role TEXT,
    lineage TEXT NOT NULL, predecessor TEXT,
    key_type TEXT NOT NULL, spki_sha256 TEXT NOT NULL, fingerprint TEXT,
    revoked_offset INTEGER, revoked_at INTEGER, reason INTEGER, invalidity_date INTEGER,
    replaced_offset INTEGER, replaced_at INTEGER, replaced_by TEXT,
    due_at INTEGER, late_at INTEGER
);
CREATE UNIQUE INDEX certificates_serial ON certificates (serial);
CREATE INDEX certificates_fingerprint ON certificates (fingerprint);
CREATE INDEX certificates_key ON certificates (spki_sha256);
CREATE INDEX certificates_lineage ON certificates (lineage, offset);
CREATE INDEX certificates_end ON certificates (not_after, offset);
CREATE INDEX certificates_label ON certificates (label, offset);
CREATE INDEX certificates_issuer ON certificates (issuer, offset);
CREATE INDEX certificates_profile ON certificates (profile, offset);
CREATE INDEX certificates_key_type ON certificates (key_type, offset);
CREATE INDEX certificates_requester ON certificates (requester_id, offset);
CREATE INDEX certificates_revoked ON certificates (revoked_offset) WHERE revoked_offset IS NOT NULL;
CREATE INDEX certificates_current ON certificates (not_after, late_at, offset)
    WHERE revoked_offset IS NULL AND replaced_offset IS NULL;

CREATE TABLE names (name TEXT NOT NULL, offset INTEGER NOT NULL, lineage TEXT NOT NULL, PRIMARY KEY (name, offset)) WITHOUT ROWID;
CREATE TABLE services (name TEXT PRIMARY KEY, certificates INTEGER NOT NULL, first_offset INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE facets (kind TEXT NOT NULL, value TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (kind, value)) WITHOUT ROWID;
CREATE TABLE series (kind TEXT NOT NULL, hour INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (kind, hour)) WITHOUT ROWID;
CREATE VIRTUAL TABLE search USING fts5 (words, content='', tokenize='trigram');

CREATE TABLE records (
    offset INTEGER PRIMARY KEY, type TEXT NOT NULL, time INTEGER NOT NULL, subject TEXT NOT NULL,
    requester_kind TEXT, requester_id TEXT, refusal TEXT
);
CREATE INDEX records_type ON records (type, offset);
CREATE INDEX records_subject ON records (subject, offset);
CREATE INDEX records_time ON records (time);
CREATE INDEX records_refused ON records (offset) WHERE refusal IS NOT NULL;

CREATE TABLE refusals (
    offset INTEGER PRIMARY KEY, time INTEGER NOT NULL, operation TEXT NOT NULL, serial TEXT,
    requester_kind TEXT NOT NULL, requester_id TEXT NOT NULL, codes TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX refusals_serial ON refusals (serial, offset);
CREATE INDEX refusals_time ON refusals (time);

CREATE TRIGGER certificates_issued AFTER INSERT ON certificates BEGIN
    UPDATE certificates SET replaced_offset = NEW.offset, replaced_at = NEW.issued_at, replaced_by = NEW.serial
        WHERE serial = NEW.predecessor;
    UPDATE certificates SET due_at = NEW.not_before + ifnull(
        (SELECT CASE
            WHEN parent.revoked_offset IS NULL
                AND 3 * (NEW.issued_at - parent.not_before) >= parent.not_after - parent.not_before
                AND 10 * (NEW.issued_at - parent.not_before) <= 9 * (parent.not_after - parent.not_before)
            THEN (NEW.issued_at - parent.not_before) * (NEW.not_after - NEW.not_before) / (parent.not_after - parent.not_before)
            END FROM certificates AS parent
            WHERE parent.serial = NEW.predecessor AND parent.not_after > parent.not_before),
        (NEW.not_after - NEW.not_before) * 2 / 3)
        WHERE offset = NEW.offset;
    UPDATE certificates SET late_at = due_at + (not_after - not_before) / 20 WHERE offset = NEW.offset;
    INSERT INTO names SELECT DISTINCT value, NEW.offset, NEW.lineage FROM json_each(NEW.names) WHERE true
        ON CONFLICT DO NOTHING;
    INSERT INTO services SELECT NEW.label, 1, NEW.offset WHERE NEW.label <> ''
        ON CONFLICT (name) DO UPDATE SET certificates = certificates + 1;
    INSERT INTO search (rowid, words) VALUES (NEW.offset, NEW.names || ' ' || ifnull(NEW.node, '') || ' '
        || NEW.requester_kind || ' ' || NEW.requester_id || ' ' || NEW.profile);
    INSERT INTO facets VALUES ('issuer', NEW.issuer, 1), ('profile', NEW.profile, 1), ('key_type', NEW.key_type, 1)
        ON CONFLICT (kind, value) DO UPDATE SET n = n + 1;
    INSERT INTO series VALUES
        (CASE WHEN NEW.predecessor IS NULL THEN 'issued' ELSE 'renewed' END, NEW.issued_at / 3600, 1),
        ('ends', NEW.not_after / 3600, 1)
        ON CONFLICT (kind, hour) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER certificates_revoked AFTER UPDATE OF revoked_offset ON certificates
WHEN OLD.revoked_offset IS NULL AND NEW.revoked_offset IS NOT NULL BEGIN
    INSERT INTO series VALUES ('revoked', NEW.revoked_at / 3600, 1) ON CONFLICT (kind, hour) DO UPDATE SET n = n + 1;
    UPDATE series SET n = n - 1 WHERE kind = 'ends' AND hour = NEW.not_after / 3600;
END;
CREATE TRIGGER refusals_counted AFTER INSERT ON refusals BEGIN
    INSERT INTO series VALUES ('refused', NEW.time / 3600, 1) ON CONFLICT (kind, hour) DO UPDATE SET n = n + 1;
END;
"""

TABLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (rows.CERTIFICATES, rows.CERTIFICATE_COLUMNS),
    (rows.RECORDS, rows.RECORD_COLUMNS),
    (rows.REFUSALS, rows.REFUSAL_COLUMNS),
)

# what empties all that triggers keep
DERIVED = (
    "DELETE FROM names",
    "DELETE FROM services",
    "DELETE FROM facets",
    "DELETE FROM series",
    "INSERT INTO search (search) VALUES ('delete-all')",
)
