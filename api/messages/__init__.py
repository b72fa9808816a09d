"""Operations on messages and their files."""
