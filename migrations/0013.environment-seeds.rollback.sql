-- Back to an environment that is applied at each start.
DROP TABLE environment_seeds;
