-- Reads messages that are kept, in ascending order.
-- KEYS[2] the room's position; KEYS[3] its messages.
-- ARGV[4] and ARGV[5] the position as far as the node knows it ('' and 0: not at all); ARGV[6] and ARGV[7] the position
-- after which to read (the epoch behind a '='; '*': the present one; '': the newest messages are asked for); ARGV[8] only
-- offsets below it; ARGV[9] most messages; ARGV[10] most bytes, but for the first message; ARGV[11] ms to keep the position
-- from now on, ARGV[12] if nothing was published yet.
-- Returns {epoch, top, base, oldest offset kept, {offset, frame, offset, frame, ...}}.
return answer(function()
  local epoch, top, base = open(KEYS[2], KEYS[3], current_line(), ARGV[3], ARGV[4], ARGV[5])
  local ttl = top > 0 and ARGV[11] or ARGV[12]
  -- Messages that are kept longer keep the position longer.
  if call('PTTL', KEYS[2]) < tonumber(ttl) then call('PEXPIRE', KEYS[2], ttl) end

  local function offset_of(entry)
    return string.match(entry[1], '^%d+')
  end

  local oldest = call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
  local newest = ARGV[6] == ''
  local known = ARGV[6] == '=' .. epoch or ARGV[6] == '*'
  local low = newest and 1 or known and tonumber(ARGV[7]) + 1 or base + 1
  local high = math.min(tonumber(ARGV[8]) - 1, top)
  local limit, most = tonumber(ARGV[9]), tonumber(ARGV[10])
  local messages, count, bytes, full = {}, 0, 0, limit == 0

  while not full and low <= high do
    local range = newest and { 'XREVRANGE', KEYS[3], integer(high), integer(low) }
      or { 'XRANGE', KEYS[3], integer(low), integer(high) }
    local entries = call(range[1], range[2], range[3], range[4], 'COUNT', math.min(limit - count, 50))
    for _, entry in ipairs(entries) do
      local frame = entry[2][2]
      full = count > 0 and bytes + #frame > most
      if full then break end
      messages[#messages + 1] = offset_of(entry)
      messages[#messages + 1] = frame
      count, bytes = count + 1, bytes + #frame
      if newest then high = tonumber(offset_of(entry)) - 1 else low = tonumber(offset_of(entry)) + 1 end
    end
    full = full or count >= limit or #entries == 0
  end

  if newest then
    local ascending = {}
    for index = #messages - 1, 1, -2 do
      ascending[#ascending + 1] = messages[index]
      ascending[#ascending + 1] = messages[index + 1]
    end
    messages = ascending
  end
  return { epoch, integer(top), integer(base), oldest and offset_of(oldest) or integer(top + 1), messages }
end)
