"""What lasts: SQLite through SQLAlchemy Core. Repository functions take a connection and know no protobuf."""
