-- The clusters that a spec has started and not yet cleaned up, for cluster.cleanup() and for the report of a failure.
return {}
