-- Deletes a key of another type than nodes give it: it holds nothing of theirs any more.
-- KEYS[1] the key; ARGV[1] a command that only reads, and only keys of the right type.
-- Returns 1 if it was deleted; 0: it is of the right type now, or is gone.
local reply = redis.pcall(ARGV[1], KEYS[1])
local refusal = type(reply) == 'table' and reply.err
if not refusal then return 0 end
if string.find(refusal, 'WRONGTYPE', 1, true) then return redis.call('DEL', KEYS[1]) end
return reply
