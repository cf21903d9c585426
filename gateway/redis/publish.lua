-- Publishes a message to a plain room, unless its dedupe key exists. One step: no retry on another node comes between.
-- KEYS[1] the dedupe key.
-- ARGV[1] its lifetime, ms; ARGV[2] the channel; ARGV[3] the envelope.
-- Returns 1: published; 0: duplicate.
return answer(function()
  if not call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then
    -- A write without effect: a WAIT behind it covers the first publish too, of whichever node.
    call('PEXPIRE', KEYS[1], call('PTTL', KEYS[1]))
    return 0
  end
  local published, wrong = pcall(call, 'PUBLISH', ARGV[2], ARGV[3])
  if not published then
    local refusal = { err = reason(wrong) }
    -- Removes the key. Without the right to PEXPIRE, SET does it, which was allowed above.
    if redis.pcall('PEXPIRE', KEYS[1], 0) ~= 1 then call('SET', KEYS[1], '1', 'PX', 1) end
    return refusal
  end
  return 1
end)
