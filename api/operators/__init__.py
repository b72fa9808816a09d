"""Operations for operators: health, dead letters, the dashboard."""
