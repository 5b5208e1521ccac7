// A plugin of Haraka that takes what is for us, and writes down who had a message before it is answered.
const fs = require('node:fs')

const note = (line) => fs.appendFileSync(process.env.NOTES, `${line}\n`)

exports.hook_connect = (next) => {
    note('session')
    next()
}

exports.hook_rcpt = (next, connection, [to]) => {
    if (to.user.startsWith('dead-')) return next(DENY, 'no such user')
    next(OK)
}

const take = (next, connection) => {
    for (const to of connection.transaction.rcpt_to) note(to.address)
    next(OK)
}

// The mail of whoever has logged in is meant to go on to the next server.
exports.hook_queue = take
exports.hook_queue_outbound = take
