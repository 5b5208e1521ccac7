"""The words of mail servers' answers, by what they mean, one phrase a line (see
`phrases`). `answers` says in which order they are asked."""

from __future__ import annotations

from drip.core.phrases import Words

# --- who is meant, and how the two servers talk

LOGIN = Words(r"""
    (authentifizier\w+|authentifiez|autentiq\w+|autentic(a|ar)se|autenticati|autenticarsi)
    requires? (smtp |valid )?authentication
    (?<!spf )(?<!dkim )(?<!dmarc )(?<!sender )authentication (is )?(required|needed)
    (must|need to|please) (first )?(be )?(log ?in|authenticat\w+|turn on|enable|use) ... (smtp|authentication|login|log in|before|first)
    (must|need to|please) (first )?(log ?in|authenticate)
    (invalid|bad|wrong|unknown|incorrect) (user ?(name)? (or|and) )?(login|credentials|password)
    (not|client was not) authenticated
    smtp ?auth(entication)? (is )?(required|needed)
    log ?in (first|required)
    anmeldung erforderlich
    authentifizierung (ist )?(erforderlich|notwendig)
    authentification (est )?(requise|necessaire|obligatoire)
    autenti[cf]\w+ (es |e )?(requerida|necesaria|obligatori\w|richiesta|necessaria)
    требуется (аутентификация|авторизация)
    """)
RELAY = Words(r"""
    relay(ing|ed)?( mail| access| is| was| to| for|  this)* ... (denied|not (permitted|allowed|authori[sz]ed|supported)|prohibited|disallowed|refused|rejected|forbidden|disabled|blocked)
    (unable to|not|cannot|cant|wont|will not|refus\w+ to|may not|not (permitted|allowed|authori[sz]ed) to) relay
    (insecure mail|open|no) relay
    relay (access )?denied
    relayaccessdenied
    list of allowed rcpthosts
    (we|this server) (do|does)( not|nt) (relay|accept mail for other)
    (weiterleitung|relaying|relais|relay|reenvio|retransmision|inoltro|retransmissao|reencaminhamento) ... (verweigert|nicht (erlaubt|gestattet)|abgelehnt|refuse\w?|interdit|denegad\w|no permitid\w|negat\w|non (permess|consentit)\w|negad\w|nao permitid\w|niet toegestaan|zabronion\w+|запрещен\w*)
    """)
# How much comes from somebody, whoever that is.
RATE = Words(r"""
    rate ?limit
    (rate|frequency|volume|allowance) ... exceeded
    exceed\w* ... (rate|limit|quota|threshold|number of|maximum|allowance) ... (messages|mails|emails|recipients|connections|sessions|hour|day|minute|sending|sent)
    (sending|send|outbound|outgoing|hourly|daily|message|recipient|connection|submission|monthly) (mail |email |user |user sending |message |sending )?(rate|limit|quota)
    at (a|too high a) rate
    too (many(?! hops)|much|fast|often|quickly|frequent\w*)
    (zu viele|zu schnell|trop (de|d|vite)|demasiad[oa]s?|troppi|troppe|muit[oa]s|te veel|zbyt (wiele|duzo|szybko)|слишком (много|часто)|for manga|for mange|liian monta|prilis mnoho|cok fazla|tul sok|prea multe)
    slow(ing)? down
    throttl\w+
    (sent|sends|sending|receiv\w+) ... (per|this|in (the|an|one) (last|past)?) ?(hour|day|minute)
    frequency (is )?(limited|limit)
    unusual(ly)? (rate|high|amount|volume|traffic)
    (ratenbegrenzung|limite (d|de|horaire|diari\w|di|giornalier\w)|limite ... (depasse|superad|excedid|superat)\w*|превышен\w* ... (лимит|частот|количеств)\w*)
    (发送|邮件)?(频率|过于频繁|太多|超过.{0,6}限制|限额)
    (送信(数|制限)|制限を超え|多すぎ)
    (너무 많|전송 제한|초과)
    """)
# What one connection carries.
IN_SESSION = Words(r"""
    too many (messages|mails|recipients|transactions|emails|deliveries) ... (in|per|for|on|over|during|within) (this|one|a|each|the|the same|single) (smtp )?(connection|session)
    (messages?|recipients?|transactions?) (limit )?per (smtp )?(connection|session)
    """)
THEIR_RATE = Words(r"""
    (rate|limit|quota|too (many|much|fast|often|quickly)|slow down|throttl\w*) ... (for|to|at|by) (this |that |the |its )?(recipient|destination|domain|mailbox|user|itsdomain)\b
    (recipient|destination|itsdomain|domain) ... over (its|the) ((rate|message|receiving) )?limit
    (recipient|user|mailbox) ... receiv\w+ ... (too (many|much|fast|often|quickly)|at a rate|rate limit)
    """)
# How much comes from us.
OUR_RATE = Words(r"""
    (rate|limit|quota|too (many|much|fast|often|quickly)|slow down|throttl\w*|unusual\w*|exceed\w*) ... (WE|from (you|ipaddress)|by you|for you)
    (WE|you (have|ve|re|are (?!trying))|youve) ... (rate|limit|quota|too (many|much|fast|often|quickly)|slow down|throttl\w*|unusual\w*|exceed\w*)
    too (many|much) (recipients|messages|mails?|emails?|errors|commands|mail)
    (sending|send|outbound|outgoing|hourly|daily|submission|monthly) (mail |email |user |user sending |message |sending )?(rate|limit|quota)
    (sent|sends|sending) ... (per|this|in (the|an|one) (last|past)?) ?(hour|day|minute)
    """)
# Whatever the message: this machine, or the account that we send by.
US = Words(r"""
    WE ... (reject\w*|block\w*|suspend\w*|listed|banned|denied|disabled|not (allowed|authori[sz]ed|permitted|welcome)|refused|restricted|reputation|black ?list\w*|locked|unknown|not known|not recogni[sz]ed)
    ipaddress (is |was |has been )?(currently |temporarily |being )?(reject\w*|block\w*|listed|banned|denied|not allowed|refused|restricted|black ?list\w*)
    (blocked|listed|rejected|banned|refused|denied) (using|by|in|at|on|from|for|because of) ... (ipaddress|your|rbl|dnsbl|spamhaus|spamcop|barracuda|block ?list|black ?list|client)
    blocked using
    (access|connection|mail|service) (from|by|to) (WE|ipaddress) ... (denied|refused|rejected|blocked)
    (helo|ehlo) ... (rejected|invalid|denied|refused|required|mismatch|not (found|resolv\w+|valid))
    (invalid|bad|illegal|unknown|forged) (helo|ehlo)
    (reverse (dns|hostname|lookup|address)|\bptr\b|rdns)
    (missing|no|bad|without) ... \bptr\b
    (poor|bad|low|no) (sender |ip |sending |mta |mta s )?reputation
    (your|the|this) (account|user|mailbox) ... (suspended|blocked from sending|not allowed to send|sending (is )?disabled)
    mail from you
    unverif\w+ (sending )?(ip|host|client)s?
    my name was rejected
    adresse ip (source )?(bloque|black)\w*
    (ip|server) ... (gesperrt|blockiert|bloque\w*|bloquead\w+|bloccat\w+|заблокирован\w*|черн\w+ спис\w+)
    """)
SENDER = Words(r"""
    SENDER( is| was| has been)? (reject\w*|denied|refused|verif\w+|unverif\w+|not (verified|owned|resolv\w+|local)|no mx|unrout\w+|illegal|abgelehnt|refusee?|rechazad[oa]|rifiutat[oa]|rejeitad[oa]|geweigerd|odrzucon\w+|отклонен\w*)
    SENDER ... (?<!\w)GONE
    SENDER ... (does( not|nt) resolve|has no (mx|a|dns)|cant be verified|could not be verified)
    (NO_SUCH) (envelope |return )?SENDER\b
    (unroutable|unrouteable|unresolvable|forged|unverif\w+|spoofed) (envelope )?sender
    domain of sender
    (发件人|寄件人|發件人|寄件者|差出人|送信者|送信元|보낸 사람|발신자)
    verification failed for
    valid mx for sender
    verified sender identity
    not owned by
    """)
# Said of the sender, of its domain or of how it proves itself, and mostly by a filter
# of this one recipient.
MAYBE_SENDER = Words(r"""
    (SENDER|your (email )?(domain|address)|ourdomain|header from|from( address| domain| header)?) ... (?<!\w)(GONE|reject\w*|denied|refused|not (allowed|permitted|authori[sz]ed|accepted|verified)|block\w*|banned|failed|no mx|has no|does( not|nt) (match|pass|have|resolve))
    (NO_SUCH) (from|header from|your domain)\b
    authentication (fail\w*|checks?|error|results?)
    (spf|dkim|dmarc|arc|sender policy framework|unauthenticated)\b
    not (authori[sz]ed to send|permitted to send|allowed to send|listed as an allowed sender)
    send (as|on behalf)
    (header|line) from
    (in|of) (the |your )?(from|cc|sender|reply to):? header
    """)
# Who tells what another server said may have asked it about the sender.
TOLD_OF_SENDER = Words(r"""
    sender\b
    (callout|call ?back)\b
    (?<!recipient )(address )?verification (failed|of)
    """)
# What the two say to each other, whatever it is about.
DIALOGUE = Words(r"""
    (bad|out of|wrong|invalid|incorrect|improper) (command )?(sequence|order)
    (unknown|unrecogni[sz]ed|invalid|unimplemented|unsupported|bad|not a valid|unexpected) (smtp )?(command|parameter|argument|verb|option)
    command (not|unrecogni[sz]ed|unknown|out of|is not|line|rejected|order|sequence)
    not (implemented|understood)
    (need|send|expected|expecting|valid|wants?|missing|issue|must (issue|have|send)|no) (a |the |your )?(ehlo|helo|mail|rcpt|data)( from| to)?( command| first|\b)
    (mail|rcpt|data|helo|ehlo)( from| to)? (command )?(first|must|not|already|expected|required|before|missing)
    no valid recipients
    (already|nested|duplicate|second) (have |has |specified |given )?(mail|sender|transaction)
    sender already (specified|given)
    (syntax error|bad syntax)
    syntax: (mail|rcpt|ehlo|helo|data)
    pipelin\w+
    synchroni[sz]ation error
    protocol (error|violation)
    (bare (lf|cr|newline)|line too long)
    (transaction|session) (already|not)
    starttls (first|required)
    must issue a starttls
    """)
ADDRESS_SYNTAX = Words(r"""
    (bad|invalid|illegal|malformed|wrong|incorrect|improper) ... (syntax|format|characters?)
    syntax ... (address|recipient|mailbox|local part|domain|path)
    (address|recipient|mailbox|local part|domain|path) ... (syntax|format|malformed|badly formed|not (rfc|fully qualified|compliant)|too long|illegal char\w*|invalid char\w*)
    (malformed|unparse?able|cannot parse|cant parse|unparsable)
    (rfc|rfc )?(5321|5322|2821|2822|821|822) (compliant|violation|format|address)
    (not|non|need) (a )?fully qualified
    (unbalanced|contains? ... (char|space|illegal|invalid|special)\w*)
    (syntaxe|sintaxis|sintassi|sintaxe|syntaxfehler|format d adresse|синтаксис\w*)
    user address required
    """)

# --- for now

GREYLISTED = Words(r"""
    gr[ea]y ?list\w*
    (try|come|retry|again|please|back|wait) ... (in|after|for|within) (a few |\d+ ?)(s|sec\w*|min\w*|hours?|h)\b
    (graylist|liste grise|lista gris|lista grigia|lista cinza|graue liste|серыи список|szara lista|灰名单|グレイリスト)
    """)
SERVER_FULL = Words(r"""
    insufficient system (storage|space|resources|disk)
    (mail )?system (is )?full
    space shortage
    (not enough|insufficient|low|no|out of) (free )?(disk|spool|queue|system) ?(space|storage)
    (disk|file ?system|partition|spool|queue|server) (is )?full
    """)
FULL = Words(r"""
    (USER|mail|folder|storage|quota|directory|disk|maildir|spool|file system|filesystem) ... (?<!\w)FULL_OF\b
    full ... USER
    (over|exceed(s|ed|ing)?|out of|reached|above|beyond|at|hit) ... (quota|storage|disk ?space|mailbox size|allotment|space|size limit for this mailbox)
    (quota|storage|disk space|mailbox size|size limit|allocation|mailbox) ... (exceed\w*|reached|violat\w+|overdrawn|over (its|the) (limit|maximum)|used up|overflow\w*|too (large|big))
    over ?quota
    (not enough|insufficient|low|no( more)?|lack of|low on) ... (storage|disk|space|room)
    maildir ... (full|size)
    (quota|kontingent|speicherplatz|espace|espacio|spazio|espaco|cota|cuota|quote|opslag|miejsca|квот\w*|мест\w*|utrymme|plads|plass|tilaa|kvot\w*|kota\w*|tarhely) ... (uberschritten|erschopft|voll|depass\w+|insuffisant|atteinte?|excedid\w|superad\w|agotad\w|superat\w|esaurit\w|insufficiente|esgotad\w|overschreden|przekroczon\w+|brak|превышен\w*|нет|недостаточно|исчерпан\w*|overskr\w+|slut|ylitt\w+|prekrocen\w*|asildi|doldu|megtelt|depasit\w*)
    (kein speicherplatz|sin espacio|plus d espace|sem espaco|brak miejsca|нет места|geen ruimte)
    (容量|邮箱.{0,8}满|已满|空间不足|超出.{0,8}(配额|容量)|いっぱい|満杯|용량|가득)
    (recipient|user|mailbox|inbox) ... out of (storage|space)
    """)
DISABLED = Words(r"""
    (USER|email address) ... (?<!\w)OFF\b
    (temporarily|currently) (disabled|inactive|suspended|closed)
    (disabled|suspended|inactive|deactivated|locked|frozen|dormant) (USER)
    not accepting (any |new )?(messages|mails?|email)
    (does|do|is|will)( not|nt) (currently )?(accept|receive) (any |new )?(messages|mails?|email)\b
    resigned
    (on|auf|in) (vacation|holiday|sabbatical|urlaub)
    invalid inactive user
    (已?被?(停用|冻结|禁用|锁定)|(アカウント|メールボックス).{0,12}(停止|無効)|(정지|중지|휴면|비활성))
    """)
EXPIRED = Words(r"""
    (message|delivery|envelope|mail|queue|time|lifetime|retry|retries)( time| timeout| period| lifetime)? (has |have |had |is |was )?(expired|exceeded|exhausted|timed out|elapsed)
    (delivery|message|mail|queue) ... (expired|too old|given up)
    (retry|delivery) (time ?out|time) (exceeded|reached)
    too old
    (in|on) the (mail )?queue (for )?too long
    not been (able to be )?(delivered|able to deliver) ... (within|for|after|in) \d+
    (could|can) ?not be delivered (within|for|after|in) \d+
    aborted after \d+
    (undelivered|unable to deliver|tried|delayed) (for|in|after|over) (more than )?\d+
    (zustellfrist|abgelaufen|delai ... (expire|depasse)|plazo ... (expirad|vencid)\w|tempo ... (scadut|esaurit|esgotad)\w|expirado|scadut[oa]|верем\w+ ... истек\w*|истек\w*)
    """)
LATER = Words(r"""
    temp(orar(y|il\w*|ement|iament\w+|iamente))?\b(?! file)
    temporal(ly|mente)?\b
    (vorubergehend\w*|zeitweis\w*|zeitweilig\w*|zurzeit|zur zeit|momentan\w*|derzeit|gerade nicht|spater|erneut|noch ?einmal versuchen)
    (temporaire\w*|momentane\w*|provisoire\w*|plus tard|reessay\w+|ulterieurement|pour le moment|actuellement)
    (temporal\w*|momentane\w*|mas tarde|intent\w+ (de nuevo|nuevamente|otra vez|mas)|reintent\w+|por el momento|en este momento|actualmente)
    (temporane\w*|piu tardi|riprov\w+|al momento|attualmente)
    (temporari\w*|mais tarde|tente (novamente|mais|outra)|no momento|atualmente)
    (tijdelijk\w*|later opnieuw|probeer ... (later|opnieuw)|momenteel|op dit moment)
    (tymczasow\w*|chwilow\w*|pozniej|sprobuj\w*|obecnie)
    (временн\w+|позже|позднее|попробуите|повторите|тимчасов\w+|пізніше|спробуите|в настоящее время|сеичас)
    (tillfallig\w*|senare|forsok igen|midlertidig\w*|senere|prov igen|just nu|valiaikais\w+|myohemmin|yrita)
    (docasn\w+|pozdeji|gecici\w*|daha sonra|tekrar deney\w*|su anda|atmeneti\w*|kesobb|temporar\w*|mai tarziu|προσωριν\w+|αργοτερα)
    (一時的|しばらく|後ほど|後で|再度|混雑|稍后|稍後|暂时|暫時|临时|繁忙|일시적|나중에|잠시)
    (?<!going to )try (it |sending |delivery |your request )?(again|later)
    (please )?(try|retry|resend|re send) ... (later|again|shortly|soon|minutes?|hours?|another time)
    (retry|again|back) (later|soon|shortly|in)\b
    (?<!going to )retry\b(?! (time|limit))
    (at|for) (the|this) (moment|time)\b
    (currently|presently|momentarily|right now|for now|not yet|in progress)\b
    """)
BUSY = Words(r"""
    (server|system|service|host|site|gateway|resources?|database|directory|backend|machine|domain) ... (busy|unavailable|not available|not reach\w+|unreachable|overload\w*|not respond\w*|isnt responding|down\b|offline|out of|maintenance|failure|failed|error|problem|not ready|is closed)
    (busy|overload\w*|unreachable|not reachable|unavailable (now|due|because)|under maintenance|maintenance)
    service (not available|unavailable|denied|closing)
    (find|found) (a|no) gateway
    (database|table|file|store|server|backend|config\w*|certificate|key|socket|service|daemon|script|transport|home ?dir\w*|maildir|folder|quota)( is| was| file| entry)? (not (be )?(found|known|defined|available)|does( not|nt) exist|missing|unknown)
    (outage|replicat\w+|migrat\w+|synchroni[sz]\w+)\b
    (mailbox|account|recipient|user) (is )?(busy|in use|locked for|being (moved|migrated))
    timed? ?out
    time ?out
    (lookup|look up|query|verification|verify|callout|call out|callback|call forward|address check|probe|check) ... (fail\w*|error|defer\w*|problem|timed|not (be )?complet\w*|unable|impossible)
    (could|can) ?(not|nt)( be)? (complete|perform|do|finish|verify|verified|check|checked|look ?up|contact|connect|open|create|write|lock|access|query|read)
    (unable|failed) to (complete|verify|check|look ?up|reach|contact|connect|establish|open|create|write|lock|access|query|read|find out|determine)
    unverified address
    (ldap|mysql|sql|database|imap|lmtp|dovecot|cyrus|active directory|\bad\b|radius|nis|yp|nfs|file ?system|disk|i o) ... (error|fail\w*|not|un\w+|down|problem|lost|refused|closed|busy|defer\w*)
    (connection|connect|session|socket|link|network|tls|ssl|starttls) ... (refused|reset|dropped|lost|closed|died|fail\w*|unreachable|error|problem|handshake|unavailable|timed|aborted|interrupted|terminated)
    (lost|no) connection
    no route to host
    no (route|connection|connectivity)
    (could|did|can|has|have)( ?not|nt) (respond|accept (our|your)|connect)
    hosts? (have|has) been failing
    (deferred|defer|postponed|delayed|requeued|will be retried|retrying)\b
    (queue|queueing|queued) ... (full|error|problem|disabled)
    (internal|local|configuration|software|server|system|io|unexpected|unknown|execution|processing|program|pipe|filter) (\w+ )?(error|failure|problem|fault|exception|crash\w*)
    system (not accepting|resources)
    (error|failure|problem) (in|while|during|reading|writing|opening) ... (processing|delivery|lookup|alias|file|mailbox|forward)
    (mail|routing|forwarding|delivery)? ?loop\b
    loops? back
    too many hops
    hop count
    (servfail|dns (error|timeout|query|server|failure)|name ?server (fail|timeout|not|un)\w*|host not found, try again|resolver (error|fail\w*|timeout))
    (nicht erreichbar|uberlastet|wartung\w*|ausgelastet|injoignable|surcharge\w*|occupee?|no disponible|ocupad[oa]|sobrecargad[oa]|non (raggiungibile|disponibile)|occupat[oa]|sovraccaric[oa]|indisponivel|niet bereikbaar|bezet|overbelast|niedostepn\w+|zajet\w+|przeciazon\w+|недоступ\w+|перегружен\w*|занят\w*|upptagen|optaget|opptatt|varattu|mesgul|nedostupn\w*|elfoglalt|indisponibil\w*)
    """)

# --- this message

SIZE = Words(r"""
    (message|mail|email|attachment|content|body|data)( size| length)?( is| was)? (too long|... (too (large|big)|exceed\w*|over ... limit))
    exceed\w* ... (message|mail|fixed|maximum|max)( message| mail)? (size|length)
    size limit exceeded
    too (large|big)\b
    (nachricht|message|mensaje|messaggio|mensagem|bericht|wiadomosc|сообщение|письмо) ... (zu gross|trop (volumineux|gros|grand)|demasiado grande|troppo grande|muito grande|te groot|zbyt duz\w+|слишком больш\w+)
    """)
INTERNATIONAL = Words(r"""
    smtputf8
    (utf ?8|international\w*|non ascii|beyond ascii|8 ?bit|unicode|eai) ... (address\w*|mailbox|sender|recipient|not support\w*|unsupported|envelope)
    (does|do)( not|nt) support ... (utf ?8|international\w*|eai)
    """)
POLICY = Words(r"""
    (spam|ube|uce|unsolicited|bulk|junk|virus\w*|malware|phish\w*|trojan|worm|scam|fraud\w*|abus\w+|infected|suspicious|suspected|suspicion)\b
    (antispam|antivirus|eicar|spamassassin|rspamd|amavis|bayes\w*)
    (block(ed|ing)?|black ?list\w*|block ?list\w*|deny ?list\w*|white ?list\w*|allow ?list\w*|reputation|rbl|dnsbl|urib?l|surbl|banned|blacklisted|quarantin\w+)\b
    (polic(y|ies)|prohibit\w*|administrativ\w*|compliance|regulation\w*|restrict\w*|forbidden|disallow\w*|unwanted|unwelcome|refuses? (mail|messages)|permission\w*)\b
    (not|isnt|arent|never) (allowed|authori[sz]ed|permitted|welcome|wanted|entitled)
    (message|mail|content|email|attachment|letter|transaction|text|header|subject|body)s? ... (reject(ed|s|ion|ing)?|refused|denied|blocked|unacceptable|discarded|bounced|filtered|declined)\b(?! ?[.;!)]|$|, no such)(?! ?[:,-] ?(the )?(unknown|no such|user|recipient|invalid|mailbox|address|nonexist))
    (content|message|mail) (filter\w*|scan\w*)
    content (reject\w*|denied|refused)
    (reject\w*|refus\w*|denied|declin\w*|filtered) (by|due|because|for|as|under|on) (?!unknown|invalid|no such|recipient|user|address)
    (rejected|refused|denied|blocked|filtered|discarded) (mail|message|content|email)
    access ... denied
    (may|can|must|are) (not|only) (post|write|send)
    only (members|subscribers|employees|internal|authori[sz]ed|registered)
    (tls|starttls|encryption) (is )?(required|needed|mandatory)
    (only accepts?|accepts? only|does( not|nt) accept (this|mail from|messages? from|email from)|no mail from|from (external|outside)|external senders?|internal (use|only)|members only|moderat\w+|subscribers? only|subscribed|not a member)
    (unusual|complaint\w*|purported|mismatch\w*|challenge|captcha|confirm you)
    (header|mime|encoding|charset|url|uri|hyperlink|link|attachment)s?\b
    (recipient preferences|rejected by user|user rejected|refused by (the )?(recipient|user))
    your email is redundant
    (inhalt|richtlinie\w*|abgelehnt|verweigert|blockiert|contenu|politique|refusee?|rejetee?|bloquee?|politica\w*|rechazad[oa]|contenido|bloquead[oa]|rifiutat[oa]|contenuto|bloccat[oa]|rejeitad[oa]|recusad[oa]|conteudo|beleid|geweigerd|inhoud|odrzucon\w+|polityk\w+|политик\w+|спам\w*|отклонен\w*|заблокирован\w*|skrappost|avvisa\w+|afvis\w+|avvis\w+|roskaposti|odmitnut\w*|reddedildi|elutasit\w+|respins\w*)\b
    (垃圾|拒绝|拒收|病毒|迷惑メール|拒否|ポリシー|스팸|거부|차단)
    """)

# --- the domain, and the address

NULL_MX = Words(r"""
    null ?mx
    null (mx )?record
    (domain|host|itsdomain) ... (never|does( not|nt)|do( not|nt)|not|wont|will not) (accept|receive|want)(s|ing)? (any )?(e?mails?|messages)(?= ?[.,;()]|$)
    (domain|host|itsdomain) ... (not|isnt) (configured|set up) (for|to) (accept |receive )?(e?mail)(?= ?[.,;()]|$)
    """)
# Of a host that an MX names: a slip in DNS, which is mended.
MX_HOST = Words(r"""
    all relevant mx records
    no (valid )?data record
    host found but
    mx ... (point\w*|refer\w*|resolv\w*|lead\w*) ... (itself|non ?exist\w*|unknown|invalid|not|localhost|ipaddress|nowhere|cname)
    (mx|mail ?exchanger?s?|mail ?servers?|mail hosts?) ... (not (be )?(found|resolv\w+)|does( not|nt) (exist|resolve)|unknown|unresolv\w+|non ?exist\w*|no address|no a record)
    (malformed|unexpected) ... name server reply
    name service error for name=(?!itsdomain)
    name server: (?!itsdomain)
    host unknown ... name server: (?!itsdomain)
    (any )?host named (?!itsdomain)
    no ... (address records?|a records?|aaaa)( was| were)? (found)?( for)? (mx|mail exchanger|host)
    (unable|cannot|could not|couldnt|cant) (to )?(route|resolve)
    (domain|host) ... not reachable
    lowest numbered mx
    no mail servers?
    """)
# Said by whoever has asked the name server, beyond doubt, of the recipient's own
# domain.
SURELY_NO_DOMAIN = Words(r"""
    nxdomain
    name service error for name=itsdomain type=\w+: (host not found(?!, try)|malformed)
    name server: itsdomain: host not found(?!, try)
    host unknown \(authoritative
    because the domain is not reachable
    """)
DOMAIN_GONE = Words(r"""
    (dns )?(domain|itsdomain)( name)? ... (unknown|not (be )?found|does( not|nt) exist|not exist|non ?exist\w*|is invalid|not valid|not registered|expired|no longer exists?|existiert nicht|unbekannt|n existe pas|inconnue?|no existe|inexistente|non esiste|nao existe|bestaat niet|nie istnieje|не существует|finns inte|neexistuje|nicht gefunden|introuvable)
    (unknown|no such|bad|invalid|illegal|non ?exist\w*|unrouteable|unroutable|unresolvable|unbekannte) (mail |recipient |destination |email )?(domain|host domain|destination(?! (mail ?box|address|user|recipient)))
    (unknown|no such|bad|invalid|illegal|non ?existent) host
    host or domain name not found
    (host|itsdomain)( or domain)?( name)? ... (unknown|not (be )?found|does( not|nt) exist|nonexist\w*|is invalid|not valid)
    illegal host
    unrout(e)?able address
    (couldnt|could not|cannot|cant) find (any|a) (host|mail exchanger|mx|domain)
    no (mail exchanger|mx|such domain|dns (entry|record)|a or mx|mx or a)
    account or domain may not exist
    does( not|nt) exist in dns
    [\w-]+\.[\w.-]+ does not exist
    (domain|域名|ドメイン).{0,10}(不存在|存在しません|見つかりません)
    """)
NOBODY = Words(r"""
    (USER) ... GONE
    \b(NO_SUCH) (or illegal |or unknown |or invalid |local |destination |email |final |recipient |virtual |target |user |mail |such |takiego |такого |bir )*(USER)
    no mailbox (here|by)
    no one (here )?(by|with) (that|this) name
    no (user|account|mailbox|recipient|one|person) (by|with|here|named|of|called)
    nobody (here )?(by|with|of|named)
    (user|recipient|address|account)\w* ... not (on|in) (this|our|the|my) (?!policy|block|black|white|allow)
    isnt in my (validrcptto|list of (valid )?(recipient|user|address)\w*)
    (ex)?(recipnotfound|recipientnotfound)
    (user|mail ?box|account|address)( is| was)? (closed|deleted|removed|terminated|gone)\b
    no forwarding address
    (user|mail ?box|recipient|address) (has )?moved\b
    (mailbox|address|account|email) (is )?(unavailable|not available)
    (recipient|user|person|employee|he|she) ... (has left|left the|no longer works?|no longer (with|at|employed))
    address does not exist
    isnt a (valid|known) (user|mailbox|address|recipient|account)
    (destinataire|destinatario) inconnu\w*
    adresse d au moins un destinataire invalide
    (es gibt|hier gibt es|hier wohnt) kein\w*
    (用户|收件人|帐号|账号|账户|邮箱|地址|使用者).{0,12}(不存在|未找到|找不到|无效|未知|没有)
    (不存在|无效|没有|无此|查无).{0,6}(用户|收件人|帐号|账号|邮箱|地址)
    (宛先|受信者|ユーザ|アドレス|メールアドレス|メールボックス|アカウント).{0,16}(不明|存在しません|存在しない|見つかりません|無効|ありません)
    存在しません
    존재하지 않는 (계정|사용자|주소|수신자|메일)
    (사용자|수신자|메일박스|메일 주소|주소|계정|받는 사람).{0,12}(없|존재하지|찾을 수|알 수)
    """)
# Where the code says already that it is about the address.
GONE = Words(r"""
    ^\W*((error|sorry|rejected|recipient|address|that|this|it|he|she|the|is|was|are)\W+){0,5}GONE(?= ?[.,;:()]|$| (in|on|at|here|by|to|with)\b)
    not (our|a|in) (customer|user|use)\b
    """)
# How Microsoft 365 says that its directory has no such recipient ("directory-based edge
# blocking").
NOT_IN_DIRECTORY = Words("recipient address rejected: access denied")
# Beyond doubt, at whatever command.
SURELY_NOBODY = Words(r"""
    (doesnt|does not) have an?\s+\S+\s+account
    (ex)?(recipnotfound|recipientnotfound)
    no mailbox here by that name
    """)
# Advice that stands beside many a final answer: to look at the address, and to try
# again then.
ADVICE = Words(r"""
    (?<!not )(?<!nt )(?<!to )(?<!unable )(check|checking|verify|correct|confirm|review) (the|your|for|that|whether|if|it|its|spelling|recipient|address|email) ... (try|retry|send|resend|resending|trying)\b( to| it| your| the| again| message| mail| email| resend| resending| send| delivery)*
    (prufen|uberprufen|kontrollieren) sie ... (erneut|noch einmal|nochmals?)( zu)?( senden| versuchen)?
    verifi(ez|er) ... (reessay\w+|renvoy\w+)
    (compruebe|verifique|revise|confira) ... (intent\w+|envi\w+|tente|reenvi\w+)( de nuevo| nuevamente| otra vez| novamente| outra vez)?
    (controll\w+|verific\w+) ... riprov\w+
    (проверьте) ... (попробуите|повторите|отправьте)( еще раз| снова)?
    """)
# Words that say nothing in particular: beside these alone a code says what is meant.
NEUTRAL = """
    the this that for and not was has been see sorry please error errors failed failure fatal permanent permanently reject rejected
    rejecting refused bounce bounced undeliverable recipient recipients address addresses user mailbox account delivery deliver
    delivered destination bad rcpt code status reason remote local host name itsdomain ipaddress
    """
