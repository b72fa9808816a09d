DROP TABLE alert_silences;
DROP TABLE alerts;
