-- First part of scripts that tell the backend of a change: they append events in the same step.

-- Events of this run; how many were lost; and why one was refused.
local told, dropped, refusal = 0, 0, ''

-- The error by which Redis says that the outbox is on its way to another server, else false. Call it before the first write.
local function has_moved(outbox)
  local reply = redis.pcall('XLEN', outbox)
  return type(reply) == 'table' and string.find(reply.err or '', 'non local key', 1, true) and reply
end

-- `outbox`: a stream. `prefix`: of the ids of events, never used before. `most`: events kept. An event that is refused (no
-- right, another type of key) does not undo the change.
local function tell(outbox, prefix, most, event)
  told = told + 1
  local waiting = redis.pcall('XLEN', outbox)
  local reply = redis.pcall('XADD', outbox, 'MAXLEN', most, '*', 'id', prefix .. told, 'event', event)
  local refused = type(waiting) == 'table' and waiting.err or type(reply) == 'table' and reply.err
  if refused then
    dropped, refusal = dropped + 1, refused
  elseif waiting >= tonumber(most) then
    dropped = dropped + 1
  end
end
