-- Settles the line of writes: the name of an unbroken series of writes. It goes on through restarts and failovers that lost
-- nothing; a new line begins where writes may be lost. Each room keeps the line of its epoch: so a room that is not used for a
-- long time still finds out.
-- KEYS[1] the line.
-- ARGV[1] run id of this Redis; ARGV[2] its promotion, '' if it never was a replica; ARGV[3] 1: it may lack the last writes of
-- another run; ARGV[4] the name of a new line.
-- Returns the line.
return answer(function()
  local stored = call('HMGET', KEYS[1], 'line', 'run', 'promotion')
  local line = stored[1]
  if line and stored[2] == ARGV[1] and (stored[3] or ARGV[2]) == ARGV[2] then
    -- The release before stores no promotion. Its nodes may run beside this one: the line goes on.
    if not stored[3] then call('HSET', KEYS[1], 'promotion', ARGV[2]) end
    return line
  end
  if not line or ARGV[3] == '1' then line = ARGV[4] end
  call('HSET', KEYS[1], 'line', line, 'run', ARGV[1], 'promotion', ARGV[2])
  return line
end)
