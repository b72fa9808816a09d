"""Operations for those who run Bulkhead: health, dead letters, the dashboard."""
