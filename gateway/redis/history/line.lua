-- Settles the line of writes: a name for everything that is written to a Redis and to those that take over from it without
-- having lost anything. Each room keeps the line that its epoch was begun in, so that a room which nobody uses until much
-- later still learns of a loss.
-- KEYS[1] the line; ARGV[1], ARGV[2] this Redis: its run id, and by which promotion it became the master ('' if it never was
-- a replica); ARGV[3] 1 if it may lack the end of what another run wrote; ARGV[4] a name never used before.
return answer(function()
  local known = call('HMGET', KEYS[1], 'line', 'run', 'promotion')
  local line = known[1]
  if line and known[2] == ARGV[1] and (known[3] or ARGV[2]) == ARGV[2] then
    -- Versions that know no promotions leave none: while nodes of both run, rooms go on.
    if not known[3] then call('HSET', KEYS[1], 'promotion', ARGV[2]) end
    return line
  end
  if not line or ARGV[3] == '1' then line = ARGV[4] end
  call('HSET', KEYS[1], 'line', line, 'run', ARGV[1], 'promotion', ARGV[2])
  return line
end)
