-- Publishes a message unless its key is known: one step, so that a retry on another node cannot come between.
-- KEYS[1] the key; ARGV[1] how long it is remembered in ms, ARGV[2] the channel, ARGV[3] the envelope.
-- Returns 1 if it was published, 0 if it is a duplicate.
return answer(function()
  if not call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then
    -- A write that changes nothing: WAIT behind it covers the first one too, whoever wrote that.
    call('PEXPIRE', KEYS[1], call('PTTL', KEYS[1]))
    return 0
  end
  local published, wrong = pcall(call, 'PUBLISH', ARGV[2], ARGV[3])
  if not published then
    local refusal = { err = reason(wrong) }
    -- Forgotten at once; where that right is missing too, by the one that is there.
    if redis.pcall('PEXPIRE', KEYS[1], 0) ~= 1 then call('SET', KEYS[1], '1', 'PX', 1) end
    return refusal
  end
  return 1
end)
