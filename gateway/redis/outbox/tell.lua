-- First part of scripts that change who is in a room, and tell the backend of it in the same step.

-- In a cluster, while a slot moves away, Redis refuses keys that are not there: also one that the script has just emptied. It would
-- end half-way. A key of the same slot that never is there shows that before anything is changed.
local moving = redis.pcall('GET', KEYS[1] .. ':moving')
if type(moving) == 'table' then return moving end

-- Events of this run; how many were lost; and why one was refused.
local told, dropped, refusal = 0, 0, ''

-- `outbox`: a stream. `prefix`: of the ids of events, never used before. `most`: events kept. An event that is refused (no
-- right) does not undo the change. A key of another type holds no events: it is deleted, and said to be refused.
local function tell(outbox, prefix, most, event)
  told = told + 1
  local waiting = redis.pcall('XLEN', outbox)
  if type(waiting) == 'table' and string.find(waiting.err or '', 'WRONGTYPE', 1, true) then
    refusal, waiting = waiting.err, 0
    redis.call('DEL', outbox)
  end
  local reply = redis.pcall('XADD', outbox, 'MAXLEN', most, '*', 'id', prefix .. told, 'event', event)
  local refused = type(waiting) == 'table' and waiting.err or type(reply) == 'table' and reply.err
  if refused then
    dropped, refusal = dropped + 1, refused
  elseif waiting >= tonumber(most) then
    dropped = dropped + 1
  end
end
