"""Phrases in many languages, as patterns.

A phrase is in small letters without accents, as `plain` leaves a text. `...` stands for
up to sixty characters of the same sentence, a word in capitals for any phrase of a set;
`|`, `?`, `( )`, `\\w` mean what they mean in a regular expression. A phrase begins
where a word begins. A new language is a few more words in the sets.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property, lru_cache

# What stands for an address of the Internet, for the recipient's own domain, and for
# one that we write from.
MACHINE, ITS_DOMAIN, OUR_DOMAIN = "ipaddress", "itsdomain", "ourdomain"
# Letters that Unicode does not take apart into a plain one and an accent, and signs
# that look alike.
_LETTERS = str.maketrans(
    {
        "ł": "l",
        "ø": "o",
        "đ": "d",
        "ı": "i",
        "æ": "ae",
        "’": "'",
        "‘": "'",
        "´": "'",
        "`": "'",
    }
)


def plain(text: str) -> str:
    """Small letters without accents, one blank between words.

    Contractions are one word (`doesnt`); quotes and brackets are left out.
    """
    text = text.casefold().translate(_LETTERS)
    if not text.isascii():
        # The signs of voice of Japanese are no accents, and Korean is put together
        # again.
        apart = unicodedata.normalize("NFKD", text)
        kept = "".join(
            char
            for char in apart
            if char in "\u3099\u309a" or not unicodedata.combining(char)
        )
        text = unicodedata.normalize("NFC", kept)
    text = re.sub(r"n't\b", "nt", text)
    text = re.sub(r"(?<=[a-z])[-_/](?=[a-z])", " ", text)
    text = re.sub(r"\be mail", "email", text)
    return " ".join(re.sub(r"[\"'<>\[\]*\\]+", " ", text).split())


SETS = {
    # Where a mail would go.
    "USER": r"""
        users?, user ?(name|id)s?, recipients?, mail ?box(es)?, addresse?s?, addressees?, accounts?, alias(es)?, persons?, inbox, local part
        employees?, members?, subscribers?, persona, email, mailto, rcpt
        emp?fa?e?nger\w*, benutzer\w*, nutzer\w*, postfach, mailbox, (e?mail ?)?adress\w*, konto, teilnehmer
        destinataires?, utilisateur, boite( aux lettres)?, compte, usuari\w+, destinatari\w+, buzon, cuenta, direccion, casilla, correo
        indirizzo, utente, casella, endereco, conta, caixa( postal)?, adres, e?mailadres, gebruiker\w*, ontvanger\w*, geadresseerde, postvak, postbus
        uzytkowni\w*, adresat\w*, odbiorc\w*, skrzynk\w*, kont[oa], пользовател\w*, адрес\w*, ящик\w*, получател\w*, абонент\w*
        учетн\w+ запис\w+, користувач\w*, скриньк\w*, mottagar\w*, anvandar\w*, brevlad\w*, modtager\w*, bruger\w*, postkasse\w*
        mottaker\w*, bruker\w*, vastaanottaja\w*, kayttaja\w*, postilaatikko\w*, osoite\w*, prijemc\w*, uzivatel\w*, schrank\w*
        alici\w*, kullanici\w*, posta kutusu, hesa[bp]\w*, cimzett\w*, felhasznalo\w*, postafiok\w*, destinatar\w*, utilizator\w*, casuta
        παραληπτη\w*, χρηστη\w*, διευθυνση, λογαριασμο\w*
    """,
    # What is said behind it, of somebody who is not there.
    "GONE": r"""
        unknown, not found, not be (found|located|resolved), couldnt be (found|located), cant be found, wasnt found, not (recogni[sz]ed|known|listed|registered|present|defined)
        (does|do|did)( not|nt) (seem to |appear to )?exists?, not exists?, nonexist\w*, non exist\w*, never existed, doesnt have an? ... account, does not have an? ... account
        no longer (exists?|valid|active|available|here|with|in use|works?|employed|on|used|part of|accepts), (is )?(not (a )?valid|invalid|undefined)
        isnt (known|listed|valid|registered|here), not our customer, (has|have|had|was|is|been) (left|deleted|removed|closed|terminated|cancel?led)\b, is gone, not hosted
        not (in|on) (this|our|the) (server|directory|database|system|domain|list|organi[sz]ation|recipient), has no (mailbox|account), no longer has, not here, unlisted, user does not have
        unbekannt, existiert (hier |leider |auf diesem \w+ )?nicht, nicht (mehr )?(gefunden|bekannt|vorhanden|existent|verfugbar|auffindbar|registriert|gultig), gibt es nicht, wurde (geloscht|entfernt), ungultig
        inconnue?s?, n existe (pas|plus), introuvable, inexistante?, pas (ete )?(trouvee?|valide|reconnue?), non trouvee?, invalide, a ete (supprimee?|fermee?)
        no existe, desconocid\w+, no (se )?(ha (sido |podido )?|fue |pudo |puede )?(encontr\w+|hall\w+|localiz\w+), inexistente, no (es )?valid[oa], (fue|ha sido) eliminad[oa], invalid[oa]
        (non|piu) esist\w+, sconosciut\w+, non (e )?(stat[oa] )?(trovat\w|valid\w|presente|riconosciut\w)
        nao existe, nao (foi |esta )?(encontrad\w|localizad\w|cadastrad\w|valid\w), desconhecid\w+, bestaat niet, onbekend, niet (gevonden|bekend|geldig), ongeldig
        nie istnieje, nieznan\w+, nie (zostal\w* )?(znalezion\w+|odnalezion\w+), nieprawidlow\w+, не (существует|наиден\w*|зарегистрирован\w*|обнаружен\w*|известен)
        неизвест\w+, недеиствител\w+, не існуе\w*, невідом\w+, не знаидено, удален\w*, нет$, finns inte, finns ej, okan[dt], saknas, (findes|eksisterer|finnes) ikke, ukendt, ukjent
        ei (ole olemassa|loydy|loytynyt), tuntematon, neexistuje, neznam\w+, nenalezen\w*, bulunamadi, bulunmuyor, (mevcut|gecerli) degil, gecersiz, bilinmiyor
        nem (letezik|talalhato), ismeretlen, nu (exista|a fost gasit\w*), necunoscut\w*, inesistente, yok\b, недопустим\w+, δεν (υπαρχει|βρεθηκε), αγνωστ\w+
    """,
    # The same before it.
    "NO_SUCH": r"""
        unknown, no such, invalid, illegal, unrecogni[sz]ed, nonexist[ae]nt, non exist[ae]nt, wrong, incorrect, undeliverable, bad, not an? (valid|known|registered), not a
        no (valid|known|local), (cannot|cant|could not|couldnt|unable to) find( any| an?| the| this| that)?
        unbekannte\w*, ungultige\w*, keine?\w?, kein solche\w*, aucune?, no existe (el|la|ese|esa|tal|este|esta|dich[oa]), ningun\w?, no se (encontro|encuentra) (el|la)
        nessun\w?, nao existe \w, onbekende, ongeldige?, geen, nieznany, brak, nie ma, nie znaleziono, не наиден, неизвестныи, недопустим\w+, несуществующи\w+, нет (такого)?, невідомии
        okand, ukendt, ukjent, ingen, tuntematon, neznamy, bilinmeyen, gecersiz, ismeretlen, nincs (ilyen)?, αγνωστ\w+
    """,
    "FULL_OF": r"""
        full, over ?quota, over (its|the|their|his)? ?(quota|limit), voll, pleine?, llen[oa], pien[oa], cheia, lotada, vol, pelny, pelna, przepelnion\w+, переполнен\w*, заполнен\w*, full[ta]?
        fyldt, taynna, plna, pln[yae], dolu, betelt, megtelt, plin[ae]?, γεματ\w+
    """,
    "OFF": r"""
        disabled, suspended, inactive, inactivated, frozen, locked( out)?, deactivated, de activated, not active, not (been )?activated, not enabled, expired, dormant, on hold, paused, closed temporarily, not accepting, not receiving, discontinued
        deaktiviert, gesperrt, stillgelegt, inaktiv, abgeschaltet, desactivee?, suspendue?, bloquee?, inactive?, archivee?, deshabilitad[oa], desactivad[oa], suspendid[oa], bloquead[oa], inactiv[oa]
        disabilitat[oa], disattivat[oa], sospes[oa], inattiv[oa], bloccat[oa], desativad[oa], suspens[oa], inativ[oa], uitgeschakeld, geblokkeerd, gedeactiveerd, opgeschort
        zablokowan\w+, wylaczon\w+, zawieszon\w+, nieaktywn\w+, заблокирован\w*, отключен\w*, неактив\w+, приостановлен\w*, inaktiver\w+, avstangd\w*, deaktiver\w+, suspender\w+, sparret
        deaktivovan\w+, zablokovan\w+, poistettu kaytosta, devre disi, askiya alin\w+, letiltv\w+, felfuggesztv\w+, dezactivat\w*, suspendat\w*
    """,
    # Us, as others see us.
    "WE": r"""
        your (ip|ips|server|host|mail ?server|mail system|isp|network|account|client|machine|smtp\w*|connection)( address)?, client host, sending (host|server|ip|mta)( address)?, (this|the) client, (the )?connecting (ip|host|server)
    """,
    "SENDER": r"""
        (envelope )?sender( email)?( address| domain| id| identity| user)?, return path, reverse path, mail from( address| domain)?, envelope from, absender\w*, expediteur, emetteur, remitente, mittente, remetente, afzender\w*, nadawc\w*, отправител\w*, avsandar\w*, afsender\w*, avsender\w*, lahettaja\w*, odesilatel\w*, gonderen\w*, felado\w*, expeditor\w*
    """,
}


class Words:
    """Phrases, one a line, as one pattern.

    It is compiled when it is asked for first: all of them take 50 ms.
    """

    def __init__(self, phrases: str) -> None:
        self._phrases = phrases

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(
            "|".join(
                _phrase(line.strip()) for line in self._phrases.strip().splitlines()
            )
        )

    def said_in(self, text: str) -> bool:
        """Whether one of them is in a text that is `plain`."""
        return self.pattern.search(text) is not None


def _phrase(line: str) -> str:
    # Chinese, Japanese and Korean put no blanks between words.
    begins = r"\b" if line[0] != "^" and max(line) < "\u2e80" else ""
    line = re.sub(r"[A-Z]{2}[A-Z_]*", lambda found: _any_of(found[0]), line)
    return begins + _gaps(line)


@lru_cache
def _any_of(name: str) -> str:
    patterns: list[str] = []
    for line in SETS[name].strip().splitlines():
        patterns += [text.strip() for text in line.split(",")]
    return f"(?:{'|'.join(patterns)})"


def _gaps(line: str) -> str:
    """A dot within a name (`mx.example.com`) ends no sentence."""
    return re.sub(r" ?\.\.\. ?", r"(?:[^.;]|\\.(?=\\w)){0,60}?", line)
