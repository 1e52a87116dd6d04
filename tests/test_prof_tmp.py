import os
import time

from sqlalchemy import text

from tests.workers.test_retention import yard  # noqa
from tests.workers.yard import Yard
from workers import retention
from workers.garbage import delete_garbage


def t(label, f):
    a=time.perf_counter(); r=f(); print(f"{label}: {1000*(time.perf_counter()-a):.1f} ms", flush=True); return r
N=int(os.environ.get("N","100000"))
import pytest


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("objects", [0,1])
def test_prof(yard: Yard, objects):
    yard.lifecycle._slots = dict.fromkeys(("instance", "playback", "ingest"), 0)
    s=t("submit", lambda: yard.submit(N))
    with yard.database.transaction() as tx:
        tx.execute(text("SET LOCAL statement_timeout=0"))
        tx.execute(text("UPDATE jobs SET state='SUCCEEDED', outcome='success', ended_at=clock_timestamp()"))
        tx.execute(text("INSERT INTO attempts (job, number, gate_passed_at, log_tail, facts) SELECT id, 1, now(), repeat('x', 500), jsonb_build_object('a', repeat('y',1000)) FROM jobs"))
        base=tx.execute(text("SELECT last_event FROM installation")).scalar_one()
        tx.execute(text("INSERT INTO events (number, simulation, job, kind, actor, from_state, to_state, attempt) SELECT :b + row_number() over (), simulation, id, 'instance','x','QUEUED','SUCCEEDED',1 FROM jobs, generate_series(1,4)"), {"b":base})
        tx.execute(text("UPDATE installation SET last_event = :n"), {"n": base+4*N})
        tx.execute(text("UPDATE simulations SET state='SUCCEEDED'"))
        if objects:
            tx.execute(text("INSERT INTO bundles (id,name,visibility,job,attempt,state,digest,messages,size,index_key) SELECT gen_random_uuid(),'run','team',id,1,'READY','d',3,9,'attempts/'||id||'/1/derived/0/index' FROM jobs"))
            tx.execute(text("INSERT INTO blobs (key,sha256,size,etag) SELECT 'attempts/'||id||'/1/output/run/'||n, md5(id::text||n), 9, 'e' FROM jobs, generate_series(1,2) n"))
            tx.execute(text("INSERT INTO bundle_files (bundle,name,key,sha256,size,role) SELECT b.id, n::text, 'attempts/'||j.id||'/1/output/run/'||n, md5(j.id::text||n), 9, 'data' FROM jobs j JOIN bundles b ON b.job=j.id, generate_series(1,2) n"))
            tx.execute(text("INSERT INTO bundle_topics (bundle,name,type,count,decodable) SELECT id, n::text, 't', 3, true FROM bundles, generate_series(1,5) n"))
    with yard.database.single() as tx: tx.execute(text("VACUUM ANALYZE"))
    t(f"DELETE objects={objects}", lambda: yard.lifecycle.delete_simulation(s))
    steps=[]
    a=time.perf_counter()
    while True:
        b=time.perf_counter(); done=retention.purge(yard.doors); steps.append(time.perf_counter()-b)
        if done: break
    print(f"purge {time.perf_counter()-a:.1f} s, {len(steps)} steps, median {sorted(steps)[len(steps)//2]*1000:.0f} ms, worst {max(steps)*1000:.0f} ms")
    print(yard.rows())
    steps=[]
    a=time.perf_counter(); n=0
    while time.perf_counter()-a < 60:
        b=time.perf_counter(); done=delete_garbage(yard.doors); steps.append(time.perf_counter()-b)
        if done: break
    print(f"garbage {time.perf_counter()-a:.1f} s, {len(steps)} steps, median {sorted(steps)[len(steps)//2]*1000:.0f} ms, worst {max(steps)*1000:.0f} ms", yard.rows())
