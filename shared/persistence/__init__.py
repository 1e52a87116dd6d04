"""Everything that speaks SQLAlchemy: the tables, the database, and the questions asked of it."""
