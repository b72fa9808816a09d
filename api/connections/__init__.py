"""Operations on companies, connections, sessions and templates."""
