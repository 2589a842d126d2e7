"""A witness inside the database: triggers that note, for every result, whether its claim stood when it was recorded."""

import psycopg

# A result is lawful while the job it belongs to runs, under the same fence (evaluations carry none), by that worker.
_SCHEMA = """
create table witness (what text not null, lawful boolean not null);

create function witness_result() returns trigger language plpgsql as $$
declare
    job_kind text := tg_argv[0];
    subject integer := (to_jsonb(new) ->> tg_argv[1])::integer;
    fence_then bigint := (to_jsonb(new) ->> 'fence')::bigint;
    comparison integer := (to_jsonb(new) ->> 'comparison_id')::integer;
begin
    insert into witness values (
        format('%s onto network %s by worker %s under fence %s', job_kind, subject, new.worker_id, fence_then),
        exists (
            select from jobs
            where kind = job_kind and network_id = subject and state = 'running' and worker_id = new.worker_id
                and (comparison is null or comparison_id = comparison)
                and (fence_then is null or fence = fence_then)
        )
    );
    return null;
end $$;

create trigger witness after insert on evaluations
    for each row execute function witness_result('evaluate', 'network_id');
create trigger witness after insert on attacks
    for each row execute function witness_result('attack', 'network_id');
create trigger witness after insert on transfers
    for each row execute function witness_result('transfers', 'target_id');
"""


def install(database_url: str) -> None:
    """Put the witness into a migrated database; it is no part of the product."""
    with _connect(database_url) as connection:
        connection.execute(_SCHEMA)


def unlawful(database_url: str) -> tuple[int, list[str]]:
    """How many results were witnessed, and those that were recorded under a claim which did not stand."""
    with _connect(database_url) as connection:
        rows = connection.execute("select what, lawful from witness").fetchall()
    return len(rows), [what for what, lawful in rows if not lawful]


def _connect(database_url: str) -> psycopg.Connection:
    return psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True, connect_timeout=10)
