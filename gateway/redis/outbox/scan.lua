-- Which outboxes of a server have events. They lie in many slots: for Redis Cluster only, where keys need no declaration.
-- ARGV[1], ARGV[2] what is before and behind the tag of a slot in their names; then tags.
-- Returns tags and the number of their events, in turn, without those that have none; and tags that cannot be told: the slot
-- is on its way to another server, or the key is of another type.
local full, unknown = {}, {}
for index = 3, #ARGV do
  local waiting = redis.pcall('XLEN', ARGV[1] .. ARGV[index] .. ARGV[2])
  if type(waiting) == 'table' then
    unknown[#unknown + 1] = ARGV[index]
  elseif waiting > 0 then
    full[#full + 1] = ARGV[index]
    full[#full + 1] = waiting
  end
end
return { full, unknown }
