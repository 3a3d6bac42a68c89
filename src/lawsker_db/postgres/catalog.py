"""Read what the schema is into comparable values, and compare two.

Everything is read from pg_catalog under an empty search_path, so that every name in a definition is qualified. Objects of
extensions are left out (the extension and its version stand for them), and so is the schema `lawsker_db`, temporary
objects, and what the server makes by itself (array types, row types, TOAST, NOT NULL constraints of PostgreSQL 18, which
the columns tell already).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from lawsker_db.postgres.session import quoted_as_read

# Printing a definition takes ACCESS SHARE on its table. Whoever waits for that holds up nobody but an ACCESS EXCLUSIVE
# lock behind it, so somebody's TRUNCATE or VACUUM FULL is waited for, not taken for a failure.
PATIENT = "60s"

_ACL = "(SELECT jsonb_agg(i::text ORDER BY i::text) FROM unnest({acl}) AS i)"
# A dump sorts the options of foreign objects.
_OPTIONS = '(SELECT jsonb_agg(i ORDER BY i COLLATE "C") FROM unnest({options}) AS i)'
_OURS = (
    "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'lawsker_db')"
    " AND n.nspname !~ '^pg_(temp|toast_temp)_'"
)
_NO_EXTENSION = (
    "NOT EXISTS (SELECT FROM pg_depend e"
    " WHERE e.classid = '{catalog}'::regclass AND e.objid = {oid} AND e.deptype = 'e')"
)
_NAME = "quote_ident(n.nspname) || '.' || quote_ident({name})"
_TABLE = _NAME.format(name="c.relname")


def _filter(catalog: str, oid: str) -> str:
    return f"{_OURS} AND {_NO_EXTENSION.format(catalog=catalog, oid=oid)}"


# Each query gives a name and a JSON object of facts; facts that are null do not count.
QUERIES: Mapping[str, str] = {
    "schema": f"""
        SELECT quote_ident(n.nspname), jsonb_build_object('owner', pg_get_userbyid(n.nspowner),
            'acl', {_ACL.format(acl="n.nspacl")}, 'comment', obj_description(n.oid, 'pg_namespace'))
        FROM pg_namespace n WHERE {_filter("pg_namespace", "n.oid")}""",
    "table": f"""
        SELECT {_TABLE}, jsonb_build_object('kind', c.relkind, 'persistence', c.relpersistence,
            'owner', pg_get_userbyid(c.relowner), 'acl', {_ACL.format(acl="c.relacl")},
            'options', to_jsonb(c.reloptions), 'row_security', c.relrowsecurity, 'forced', c.relforcerowsecurity,
            'replica_identity', c.relreplident, 'populated', c.relispopulated,
            'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = c.reltablespace),
            'access_method', (SELECT amname FROM pg_am WHERE oid = c.relam),
            'partition_of', pg_get_expr(c.relpartbound, c.oid),
            'partition_key', CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
            'inherits', (SELECT jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno)
                FROM pg_inherits i WHERE i.inhrelid = c.oid),
            'foreign', (SELECT jsonb_build_object('server', s.srvname, 'options', {_OPTIONS.format(options="f.ftoptions")})
                FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid),
            'columns', (SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
            'comment', obj_description(c.oid, 'pg_class'))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {_filter("pg_class", "c.oid")}""",
    "column": f"""
        SELECT {_TABLE} || '.' || quote_ident(a.attname), jsonb_build_object(
            'type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull,
            'default', pg_get_expr(d.adbin, d.adrelid), 'identity', a.attidentity, 'generated', a.attgenerated,
            'collation', (SELECT o.collname FROM pg_collation o, pg_type y
                WHERE o.oid = a.attcollation AND y.oid = a.atttypid AND y.typcollation <> a.attcollation),
            'storage', a.attstorage, 'compression', to_jsonb(a) ->> 'attcompression',
            'statistics', nullif(a.attstattarget, -1), 'options', to_jsonb(a.attoptions),
            'local', a.attislocal, 'acl', {_ACL.format(acl="a.attacl")},
            'foreign', {_OPTIONS.format(options="a.attfdwoptions")}, 'comment', col_description(c.oid, a.attnum))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
            AND {_filter("pg_class", "c.oid")}""",
    "constraint": f"""
        SELECT coalesce({_TABLE}, {_NAME.format(name="y.typname")}) || '.' || quote_ident(k.conname),
            jsonb_build_object('definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated,
            'local', k.conislocal, 'triggers', (SELECT string_agg(DISTINCT t.tgenabled::text, '')
                FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgisinternal),
            'comment', obj_description(k.oid, 'pg_constraint'))
        FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
        LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type y ON y.oid = k.contypid
        WHERE k.contype NOT IN ('n', 't') AND {_OURS}
            AND {_NO_EXTENSION.format(catalog="pg_class", oid="k.conrelid")}""",
    "index": f"""
        SELECT {_NAME.format(name="x.relname")}, jsonb_build_object('table', {_TABLE},
            'definition', pg_get_indexdef(i.indexrelid),
            'valid', i.indisvalid, 'ready', i.indisready, 'live', i.indislive, 'clustered', i.indisclustered,
            'replica_identity', i.indisreplident, 'options', to_jsonb(x.reloptions),
            'statistics', (SELECT jsonb_agg(a.attstattarget ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = x.oid AND a.attstattarget > -1),
            'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = x.reltablespace),
            'comment', obj_description(x.oid, 'pg_class'))
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_filter("pg_class", "c.oid")}""",
    "trigger": f"""
        SELECT {_TABLE} || '.' || quote_ident(t.tgname), jsonb_build_object('definition', pg_get_triggerdef(t.oid),
            'enabled', t.tgenabled, 'comment', obj_description(t.oid, 'pg_trigger'))
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT t.tgisinternal AND {_filter("pg_class", "c.oid")}""",
    "rule": f"""
        SELECT {_TABLE} || '.' || quote_ident(r.rulename), jsonb_build_object('definition', pg_get_ruledef(r.oid),
            'enabled', r.ev_enabled, 'comment', obj_description(r.oid, 'pg_rewrite'))
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE r.rulename <> '_RETURN' AND {_filter("pg_class", "c.oid")}""",
    "policy": f"""
        SELECT {_TABLE} || '.' || quote_ident(p.polname), jsonb_build_object('permissive', p.polpermissive,
            'command', p.polcmd, 'roles', (SELECT jsonb_agg(CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END
                ORDER BY r) FROM unnest(p.polroles) AS r),
            'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid),
            'comment', obj_description(p.oid, 'pg_policy'))
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_filter("pg_class", "c.oid")}""",
    "function": f"""
        SELECT {_NAME.format(name="p.proname")} || '(' || pg_get_function_identity_arguments(p.oid) || ')',
            jsonb_build_object('definition', CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid)
                ELSE p.prosrc || pg_get_function_result(p.oid) END,
            'aggregate', (SELECT jsonb_build_object('step', g.aggtransfn, 'final', g.aggfinalfn,
                'start', g.agginitval, 'state', format_type(g.aggtranstype, NULL))
                FROM pg_aggregate g WHERE g.aggfnoid = p.oid),
            'kind', p.prokind, 'owner', pg_get_userbyid(p.proowner), 'acl', {_ACL.format(acl="p.proacl")},
            'comment', obj_description(p.oid, 'pg_proc'))
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_filter("pg_proc", "p.oid")}""",
    "sequence": f"""
        SELECT {_TABLE}, jsonb_build_object('type', format_type(s.seqtypid, NULL), 'start', s.seqstart,
            'increment', s.seqincrement, 'min', s.seqmin, 'max', s.seqmax, 'cache', s.seqcache, 'cycle', s.seqcycle,
            'owner', pg_get_userbyid(c.relowner), 'acl', {_ACL.format(acl="c.relacl")},
            'persistence', c.relpersistence, 'comment', obj_description(c.oid, 'pg_class'),
            'owned_by', (SELECT d.refobjid::regclass::text || '.' || quote_ident(a.attname) FROM pg_depend d
                JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
                AND d.refclassid = 'pg_class'::regclass))
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_filter("pg_class", "c.oid")}""",
    "type": f"""
        SELECT {_NAME.format(name="y.typname")}, jsonb_build_object('kind', y.typtype,
            'owner', pg_get_userbyid(y.typowner), 'acl', {_ACL.format(acl="y.typacl")},
            'labels', (SELECT jsonb_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = y.oid),
            'base', CASE WHEN y.typtype = 'd' THEN format_type(y.typbasetype, y.typtypmod) END,
            'range', (SELECT format_type(g.rngsubtype, NULL) FROM pg_range g WHERE g.rngtypid = y.oid),
            'not_null', y.typnotnull, 'default', coalesce(pg_get_expr(y.typdefaultbin, 0), y.typdefault),
            'comment', obj_description(y.oid, 'pg_type'))
        FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace LEFT JOIN pg_class c ON c.oid = y.typrelid
        WHERE (c.oid IS NULL OR c.relkind = 'c') AND y.typcategory <> 'A' AND {_filter("pg_type", "y.oid")}""",
    "collation": f"""
        SELECT {_NAME.format(name="o.collname")}, to_jsonb(o) - '{{oid,collnamespace,collowner,collversion}}'::text[]
            || jsonb_build_object('comment', obj_description(o.oid, 'pg_collation'))
        FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE {_filter("pg_collation", "o.oid")}""",
    "operator": f"""
        SELECT o.oid::regoperator::text, jsonb_build_object('function', o.oprcode::regprocedure::text,
            'owner', pg_get_userbyid(o.oprowner), 'comment', obj_description(o.oid, 'pg_operator'))
        FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE {_filter("pg_operator", "o.oid")}""",
    "statistics": f"""
        SELECT {_NAME.format(name="s.stxname")}, jsonb_build_object('definition', pg_get_statisticsobjdef(s.oid),
            'owner', pg_get_userbyid(s.stxowner), 'comment', obj_description(s.oid, 'pg_statistic_ext'))
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
        WHERE {_filter("pg_statistic_ext", "s.oid")}""",
    "cast": """
        SELECT format_type(k.castsource, NULL) || ' AS ' || format_type(k.casttarget, NULL), jsonb_build_object(
            'function', nullif(k.castfunc, 0)::regprocedure::text, 'context', k.castcontext, 'method', k.castmethod)
        FROM pg_cast k WHERE k.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e
            WHERE e.classid = 'pg_cast'::regclass AND e.objid = k.oid AND e.deptype = 'e')""",
    "extension": """
        SELECT quote_ident(x.extname), jsonb_build_object('version', x.extversion, 'owner', pg_get_userbyid(x.extowner),
            'schema', x.extnamespace::regnamespace::text, 'comment', obj_description(x.oid, 'pg_extension'))
        FROM pg_extension x""",
    "event trigger": """
        SELECT quote_ident(v.evtname), jsonb_build_object('event', v.evtevent, 'enabled', v.evtenabled,
            'function', v.evtfoid::regprocedure::text, 'tags', to_jsonb(v.evttags),
            'owner', pg_get_userbyid(v.evtowner))
        FROM pg_event_trigger v""",
    "publication": """
        SELECT quote_ident(p.pubname), to_jsonb(p) - '{oid,pubowner}'::text[] || jsonb_build_object(
            'owner', pg_get_userbyid(p.pubowner), 'tables', (SELECT jsonb_agg(r.prrelid::regclass::text
                ORDER BY r.prrelid::regclass::text) FROM pg_publication_rel r WHERE r.prpubid = p.oid))
        FROM pg_publication p""",
    "large object": """
        SELECT d.objoid::text, jsonb_build_object('comment', d.description)
        FROM pg_description d WHERE d.classoid = 'pg_largeobject'::regclass""",
    "object": f"""
        SELECT i.type || ' ' || i.identity, jsonb_build_object('owner', pg_get_userbyid(x.owner), 'facts', x.facts,
            'comment', obj_description(x.oid, x.catalog::regclass::name))
        FROM (
            SELECT tableoid AS catalog, oid, cfgowner AS owner, (SELECT jsonb_agg(jsonb_build_array(m.maptokentype,
                m.mapdict::regdictionary) ORDER BY m.maptokentype, m.mapseqno) FROM pg_ts_config_map m
                WHERE m.mapcfg = c.oid) AS facts FROM pg_ts_config c
            UNION ALL SELECT tableoid, oid, dictowner, to_jsonb(dictinitoption) FROM pg_ts_dict
            UNION ALL SELECT tableoid, oid, NULL, to_jsonb(prsstart) FROM pg_ts_parser
            UNION ALL SELECT tableoid, oid, NULL, to_jsonb(tmpllexize) FROM pg_ts_template
            UNION ALL SELECT tableoid, oid, opcowner, to_jsonb(opcdefault) FROM pg_opclass
            UNION ALL SELECT tableoid, oid, opfowner, NULL FROM pg_opfamily
            UNION ALL SELECT tableoid, oid, conowner, to_jsonb(conproc) FROM pg_conversion
            UNION ALL SELECT tableoid, oid, lanowner, to_jsonb(lanacl::text[]) FROM pg_language
            UNION ALL SELECT tableoid, oid, NULL, to_jsonb(amhandler) FROM pg_am
            UNION ALL SELECT tableoid, oid, fdwowner, {_OPTIONS.format(options="fdwoptions")} FROM pg_foreign_data_wrapper
            UNION ALL SELECT tableoid, oid, NULL, NULL FROM pg_transform
            UNION ALL SELECT 'pg_user_mapping'::regclass, umid, NULL,
                to_jsonb(encode(sha256(convert_to({_OPTIONS.format(options="umoptions")}::text, 'UTF8')), 'hex'))
                FROM pg_user_mappings
        ) AS x, LATERAL pg_identify_object(x.catalog, x.oid, 0) AS i
        WHERE x.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e
            WHERE e.classid = x.catalog AND e.objid = x.oid AND e.deptype = 'e')""",
    "foreign server": f"""
        SELECT quote_ident(s.srvname), jsonb_build_object('owner', pg_get_userbyid(s.srvowner),
            'options', {_OPTIONS.format(options="s.srvoptions")}, 'acl', {_ACL.format(acl="s.srvacl")})
        FROM pg_foreign_server s""",
    "default privileges": """
        SELECT pg_get_userbyid(d.defaclrole) || ' ' || coalesce(d.defaclnamespace::regnamespace::text, '*') || ' '
            || d.defaclobjtype::text, jsonb_build_object('acl', (SELECT jsonb_agg(i::text ORDER BY i::text)
            FROM unnest(d.defaclacl) AS i))
        FROM pg_default_acl d""",
    "database": f"""
        SELECT '(this one)', jsonb_build_object('owner', pg_get_userbyid(d.datdba), 'acl', {_ACL.format(acl="d.datacl")},
            'connection_limit', d.datconnlimit, 'comment', shobj_description(d.oid, 'pg_database'))
        FROM pg_database d WHERE d.datname = current_database()""",
    "role": """
        SELECT quote_ident(r.rolname), to_jsonb(r) - '{oid,rolpassword,rolconfig}'::text[] || jsonb_build_object(
            'member_of', (SELECT jsonb_agg(pg_get_userbyid(m.roleid) || CASE WHEN m.admin_option THEN ' with admin'
            ELSE '' END ORDER BY m.roleid) FROM pg_auth_members m WHERE m.member = r.oid))
        FROM pg_roles r WHERE r.oid >= 16384 OR r.rolname !~ '^pg_'""",
    "subscription": """
        SELECT quote_ident(s.subname), jsonb_build_object('enabled', s.subenabled,
            'publications', to_jsonb(s.subpublications), 'owner', pg_get_userbyid(s.subowner))
        FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()""",
    "setting": """
        SELECT coalesce(pg_get_userbyid(nullif(s.setrole, 0)), '*'), jsonb_build_object('settings',
            to_jsonb(s.setconfig))
        FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database()
        UNION ALL SELECT 'role ' || quote_ident(r.rolname), jsonb_build_object('settings', to_jsonb(r.rolconfig))
        FROM pg_roles r WHERE r.rolconfig IS NOT NULL""",
}

Identity = tuple[str, str]
Facts = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The schema as facts: (kind, qualified name) to what is known of it."""

    objects: Mapping[Identity, Facts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing in which two catalogs differ. `attribute` is empty when the object stands in only one of them."""

    kind: str
    name: str
    attribute: str
    expected: str
    found: str

    @property
    def label(self) -> str:
        """Pure. "index public.ix_users_email: missing"."""
        if self.attribute:
            return f"{self.kind} {self.name}: {self.attribute} is {self.found}, expected {self.expected}"
        return f"{self.kind} {self.name}: {self.found}, expected {self.expected}"


def read_catalog(conn: Connection, *, schema: str | None = None) -> Catalog:
    """Read the whole schema of the database, or the objects of one schema (`schema` as it is, not quoted).

    Reads pg_catalog only: ACCESS SHARE on it. The session's search_path is empty meanwhile and put back afterwards.
    """
    path, limit = conn.execute(text("SELECT current_setting('search_path'), current_setting('lock_timeout')")).one()
    _configure(conn, "", PATIENT)
    objects: dict[Identity, Facts] = {}
    for kind, query in QUERIES.items():
        for name, facts in conn.exec_driver_sql(query):
            objects[kind, name] = {key: value for key, value in facts.items() if value is not None}
    _configure(conn, path, limit)
    if schema is not None:
        prefix = quoted_as_read(conn, schema) + "."
        objects = {identity: facts for identity, facts in objects.items() if identity[1].startswith(prefix)}
    return Catalog(objects=objects)


def _configure(conn: Connection, path: str, limit: str) -> None:
    conn.execute(
        text("SELECT set_config('search_path', :path, true), set_config('lock_timeout', :limit, true)"),
        {"path": path, "limit": limit},
    )


def compare_catalogs(expected: Catalog, found: Catalog) -> tuple[Difference, ...]:
    """Pure. Everything in which the two differ, in order of kind and name; empty when they are the same."""
    differences: list[Difference] = []
    for kind, name in sorted(expected.objects.keys() | found.objects.keys()):
        before, after = expected.objects.get((kind, name)), found.objects.get((kind, name))
        if before is None or after is None:
            words = ("absent", "present") if before is None else ("present", "missing")
            differences.append(Difference(kind=kind, name=name, attribute="", expected=words[0], found=words[1]))
            continue
        differences += [
            Difference(
                kind=kind,
                name=name,
                attribute=key,
                expected=_shown(before.get(key)),
                found=_shown(after.get(key)),
            )
            for key in sorted(before.keys() | after.keys())
            if before.get(key) != after.get(key)
        ]
    return tuple(differences)


def parts_of(name: str) -> tuple[str, ...]:
    """Pure. The parts of a qualified name, quoted as they are: `a."b.c".d` gives `a`, `"b.c"` and `d`."""
    return tuple(re.findall(r'"(?:[^"]|"")*"|[^.]+', name))


def catalog_digest(catalog: Catalog) -> str:
    """Pure. SHA-256 of the whole catalog as JSON with sorted keys."""
    facts = [[kind, name, catalog.objects[kind, name]] for kind, name in sorted(catalog.objects)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _shown(fact: object) -> str:
    return "nothing" if fact is None else str(fact)
