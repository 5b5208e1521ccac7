-- Refuses the recipients that are meant to be, and writes down who had a message.
local function note(line)
  local notes = assert(io.open(os.getenv("NOTES"), "a"))
  -- In one piece: others may write at the same time.
  notes:write(line .. "\n")
  notes:close()
end

function inbucket.before.rcpt_to_accepted(session)
  local to = session.to[#session.to].address
  if to:sub(1, 5) == "dead-" then
    return smtp.deny(550, "no such user")
  end
  return smtp.defer()
end

function inbucket.before.message_stored(message)
  for _, mailbox in ipairs(message.mailboxes) do
    note(mailbox)
  end
end
