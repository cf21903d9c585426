-- Settles lines of writes: the name of an unbroken series of writes. It goes on through restarts and failovers that lost
-- nothing; a new line begins where writes may be lost. Each room keeps the line of its epoch: so a room that is not used for a
-- long time still finds out. A line that is not there begins with its first room (history/room.lua).
-- KEYS the lines: one, or in a cluster those of many slots.
-- ARGV[1] run id of this Redis; ARGV[2] its promotion, '' if it never was a replica; ARGV[3] 1: it may lack the last writes of
-- another run; ARGV[4] the name of new lines; then, in a cluster, pairs of run and promotion: other servers of it. A line of one
-- of these has come from there with its slot, and with everything that was written.
return answer(function()
  local whole = {}
  for index = 5, #ARGV, 2 do whole[ARGV[index] .. ' ' .. ARGV[index + 1]] = true end

  local function settle(key)
    local stored = call('HMGET', key, 'line', 'run', 'promotion')
    local line = stored[1]
    if not line then return end
    if stored[2] == ARGV[1] and (stored[3] or ARGV[2]) == ARGV[2] then
      -- The release before stores no promotion. Its nodes may run beside this one: the line goes on.
      if not stored[3] then call('HSET', key, 'promotion', ARGV[2]) end
      return
    end
    if ARGV[3] == '1' and not whole[(stored[2] or '') .. ' ' .. (stored[3] or '')] then line = ARGV[4] end
    call('HSET', key, 'line', line, 'run', ARGV[1], 'promotion', ARGV[2])
  end

  for _, key in ipairs(KEYS) do
    local done, wrong = pcall(settle, key)
    -- Its slot is at another server, or on its way there.
    if not done and not string.find(reason(wrong), 'non local key', 1, true) then error(wrong) end
  end
  return 1
end)
