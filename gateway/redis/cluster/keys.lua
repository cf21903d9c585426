-- First part of every script in Redis Cluster: KEYS come in ARGV, behind their number (gateway/redis/script.ts).
local KEYS, ARGV = (function(words)
  local keys, values, number = {}, {}, tonumber(words[1])
  for index = 1, number do keys[index] = words[index + 1] end
  for index = number + 2, #words do values[index - number - 1] = words[index] end
  return keys, values
end)(ARGV)
