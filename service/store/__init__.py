"""What lasts: SQLite or PostgreSQL through SQLAlchemy Core. Repository functions know no protobuf."""
