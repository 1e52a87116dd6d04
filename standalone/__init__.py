"""Everything on one machine: real Postgres, Redis and S3 servers from wheels, and our processes, in one supervisor.

`simyard up` runs `python -m standalone`; the tests take `standalone.servers.Servers`.
"""
