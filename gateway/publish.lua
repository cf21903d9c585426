-- Publishes a message unless its key is known: one step, so that a retry on another node cannot come between.
-- KEYS[1] the key; ARGV[1] how long it is remembered in ms, ARGV[2] the channel, ARGV[3] the envelope.
-- Returns 1 if it was published, 0 if it is a duplicate.
if not redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then
  -- A write that changes nothing: WAIT behind it covers the first one too, whoever wrote that.
  redis.call('PEXPIRE', KEYS[1], redis.call('PTTL', KEYS[1]))
  return 0
end
local reply = redis.pcall('PUBLISH', ARGV[2], ARGV[3])
if type(reply) == 'table' and reply.err then
  local deleted = redis.pcall('DEL', KEYS[1])
  -- The right to delete may be missing too; the one to set is there.
  if type(deleted) == 'table' then redis.call('SET', KEYS[1], '1', 'PX', 1) end
  return reply
end
return 1
