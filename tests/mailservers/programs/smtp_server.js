// smtp-server as an application would use it: port, notes and, where encrypted, the chain and the key.
const fs = require('node:fs')
const { SMTPServer } = require('smtp-server')

const [port, notes, chain, key] = process.argv.slice(2)
const note = (line) => fs.appendFileSync(notes, `${line}\n`)
const refusal = (code, text) => Object.assign(new Error(text), { responseCode: code })

new SMTPServer({
    ...(chain ? { cert: fs.readFileSync(chain), key: fs.readFileSync(key) } : { hideSTARTTLS: true }),
    authOptional: true,
    onConnect(session, done) {
        note('session')
        done()
    },
    onAuth({ username, password }, session, done) {
        if (username !== 'user' || password !== 'right') return done(refusal(535, 'wrong password'))
        done(null, { user: username })
    },
    onRcptTo({ address }, session, done) {
        done(address.startsWith('dead-') ? refusal(550, 'no such user') : null)
    },
    onData(stream, session, done) {
        stream.resume()
        stream.on('end', () => {
            for (const { address } of session.envelope.rcptTo) note(address)
            done()
        })
    },
}).listen(Number(port), '127.0.0.1')
