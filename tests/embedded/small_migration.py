"""Makes the one table of the small api."""

import os

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"].replace("+psycopg", "")) as connection:
    connection.execute("create table if not exists kept (id int generated always as identity)")
