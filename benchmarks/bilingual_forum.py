"""Threads of a made-up forum where people write in several languages, each post labelled.

The sentences are our own. A thread has a language; what is posted in it that tests the
identification says so in `Written.kind`.
"""

import random
from typing import Final, NamedTuple

from schemas.post import Post, Thread

SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    "en": (
        "I don't think the kettle is at fault, it's the thermostat that switches off too early.",
        "Have you tried to rinse the filter under cold water before you put it back in?",
        "My neighbour's bicycle had the same rattle until he replaced the rear sprocket.",
        "You should let the dough rest overnight, otherwise the crust will be far too dense.",
        "The second bus leaves ten minutes later and is nearly always half empty.",
        "Once the paint has dried you can sand the edges and add a thin second coat.",
        "There's no need to restart the server, it reads its settings again every hour.",
        "We keep our seedlings by the kitchen window, where they get sun all morning.",
        "That error means the index is larger than the list, so check how you count.",
        "Nobody can tell you without seeing the contract, but I'd ask for the deposit back.",
    ),
    "fr": (
        "Je ne crois pas que la bouilloire soit en cause, c'est le thermostat qui coupe trop tôt.",
        "As-tu essayé de rincer le filtre à l'eau froide avant de le remettre en place ?",
        "Le vélo de mon voisin grinçait aussi jusqu'à ce qu'il change le pignon arrière.",
        "Il vaut mieux laisser reposer la pâte toute la nuit, sinon la croûte sera trop dense.",
        "Le deuxième bus part dix minutes plus tard et il est presque toujours à moitié vide.",
        "Une fois la peinture sèche, on peut poncer les bords et passer une deuxième couche.",
        "Pas besoin de redémarrer le serveur, il relit sa configuration toutes les heures.",
        "Cette erreur veut dire que l'indice dépasse la taille de la liste, vérifie ton compteur.",
    ),
    "de": (
        "Ich glaube nicht, dass der Wasserkocher schuld ist, der Thermostat schaltet zu früh ab.",
        "Hast du schon versucht, den Filter kalt auszuspülen, bevor du ihn wieder einsetzt?",
        "Das Fahrrad meines Nachbarn klapperte genauso, bis er das hintere Ritzel tauschte.",
        "Der Teig sollte über Nacht ruhen, sonst wird die Kruste viel zu fest.",
        "Der zweite Bus fährt zehn Minuten später und ist fast immer halb leer.",
        "Sobald die Farbe trocken ist, kann man die Kanten schleifen und noch einmal streichen.",
        "Man muss den Server nicht neu starten, er liest seine Einstellungen jede Stunde neu.",
        "Der Fehler bedeutet, dass der Index größer ist als die Liste, prüfe also die Zählung.",
    ),
    "es": (
        "No creo que la tetera tenga la culpa, es el termostato, que se apaga demasiado pronto.",
        "¿Has probado a enjuagar el filtro con agua fría antes de volver a ponerlo?",
        "La bicicleta de mi vecino hacía el mismo ruido hasta que cambió el piñón trasero.",
        "Conviene dejar reposar la masa toda la noche, si no la corteza queda demasiado dura.",
        "El segundo autobús sale diez minutos más tarde y casi siempre va medio vacío.",
        "Cuando la pintura esté seca puedes lijar los bordes y dar otra capa muy fina.",
        "No hace falta reiniciar el servidor, vuelve a leer su configuración cada hora.",
        "Ese error significa que el índice es mayor que la lista, revisa cómo estás contando.",
    ),
    "pt": (
        "Não acho que a chaleira seja o problema, é o termostato que desliga cedo demais.",
        "Já tentaste lavar o filtro com água fria antes de o colocar outra vez?",
        "A bicicleta do meu vizinho fazia o mesmo barulho até ele trocar o pinhão traseiro.",
        "É melhor deixar a massa descansar a noite toda, senão a crosta fica muito densa.",
        "O segundo ônibus sai dez minutos mais tarde e está quase sempre meio vazio.",
        "Depois que a tinta secar, você pode lixar as bordas e passar mais uma camada fina.",
        "Não é preciso reiniciar o servidor, ele volta a ler as configurações a cada hora.",
        "Esse erro quer dizer que o índice é maior do que a lista, veja como está contando.",
    ),
    "it": (
        "Non credo che sia colpa del bollitore, è il termostato che si spegne troppo presto.",
        "Hai già provato a sciacquare il filtro con acqua fredda prima di rimetterlo?",
        "La bicicletta del mio vicino faceva lo stesso rumore finché non ha cambiato il pignone.",
        "Conviene lasciare riposare l'impasto tutta la notte, altrimenti la crosta resta dura.",
        "Il secondo autobus parte dieci minuti dopo ed è quasi sempre mezzo vuoto.",
        "Quando la vernice è asciutta puoi levigare i bordi e dare un'altra mano sottile.",
        "Non serve riavviare il server, rilegge le sue impostazioni ogni ora.",
        "Questo errore significa che l'indice supera la lista, controlla come stai contando.",
    ),
    "nl": (
        "Ik denk niet dat het aan de waterkoker ligt, de thermostaat slaat gewoon te vroeg af.",
        "Heb je al geprobeerd het filter koud af te spoelen voordat je het terugzet?",
        "De fiets van mijn buurman rammelde net zo, tot hij het achterste tandwiel verving.",
        "Je moet het deeg een nacht laten rusten, anders wordt de korst veel te stevig.",
        "De tweede bus vertrekt tien minuten later en is bijna altijd half leeg.",
        "Als de verf droog is kun je de randen schuren en nog een dunne laag aanbrengen.",
        "Je hoeft de server niet opnieuw te starten, hij leest zijn instellingen elk uur.",
        "Die fout betekent dat de index groter is dan de lijst, kijk dus goed hoe je telt.",
    ),
    "ru": (
        "Не думаю, что виноват чайник: это термостат отключается слишком рано.",
        "Вы пробовали промыть фильтр холодной водой, прежде чем ставить его обратно?",
        "Велосипед моего соседа гремел так же, пока он не заменил заднюю звёздочку.",
        "Тесто лучше оставить на ночь, иначе корка получится слишком плотной.",
        "Второй автобус отходит через десять минут и почти всегда наполовину пустой.",
        "Когда краска высохнет, можно отшлифовать края и нанести ещё один тонкий слой.",
        "Перезапускать сервер не нужно, он перечитывает настройки каждый час.",
        "Эта ошибка значит, что индекс больше длины списка, проверьте, как вы считаете.",
    ),
    "zh": (
        "我觉得问题不在水壶，而是恒温器断电太早了，你可以先把它拆下来看看里面有没有水垢。",
        "你有没有试过先用冷水把滤网冲干净，再装回去？我家的就是这样修好的，花不了几分钟。",
        "我邻居的自行车以前也有同样的响声，后来他把后面的齿轮换掉就好了，零件并不贵。",
        "面团最好放一个晚上让它慢慢发酵，不然烤出来的外皮会太硬，里面也不够松软。",
        "第二班公共汽车晚十分钟才开，可是车上几乎总是有一半的座位空着，不用担心没有位子。",
        "等油漆完全干了以后，可以把边缘磨平，然后再刷上薄薄的一层，这样颜色会更均匀。",
        "不需要重新启动服务器，它每个小时都会自动读取一次配置文件，稍等一会儿就可以了。",
        "这个错误的意思是下标比列表的长度还要大，请检查一下你是从零还是从一开始数的。",
    ),
}
"""Our own sentences, enough for a post each; none occurs in what the rules were set on."""

SHORT: Final[dict[str, tuple[str, ...]]] = {
    "en": ("Works for me, thanks!", "Which version is that?", "No, it isn't.", "See above."),
    "fr": ("Ça marche, merci !", "C'est quelle version ?"),
    "de": ("Läuft jetzt, danke dir!", "Welche Version ist das?"),
    "es": ("Ya funciona, ¡gracias!", "¿Qué versión es esa?"),
}
CODE: Final = "```\nfor row in table:\n    total += row[2] * rate\n```"
FORMULA: Final = "$$\\int_0^1 x^2\\,dx = \\frac{1}{3}$$"
NAMES: Final = (
    "Weissbierbrauerei Hopf, Café de Flore, Plaza Mayor, Trattoria da Enzo, Łódź Fabryczna",
    "Skol, Brahma, Antarctica, Nova Schin, Kaiser, Itaipava, Bohemia, Devassa, Original",
    "libavcodec, qtbase-abi, ffmpeg, gstreamer, pulseaudio, wayland, systemd-resolved, dnsmasq",
)


class Written(NamedTuple):
    """What the author of a post wrote."""

    language: str
    """Code of :data:`SENTENCES`; '' where the text alone does not tell."""
    kind: str


def forum(threads: int, seed: int = 0) -> list[tuple[Thread, list[Written]]]:
    """Make threads of one prompt and seven responses, with what each post is, prompt first."""
    chance = random.Random(seed)
    return [_thread(number, chance) for number in range(threads)]


def _thread(number: int, chance: random.Random) -> tuple[Thread, list[Written]]:
    other = chance.choice([code for code in SENTENCES if code != "en"])
    home = "en" if number % 4 else other
    guest = other if home == "en" else "en"
    plain = Written(home, "plain")

    def words(language: str, least: int = 1) -> str:
        count = chance.randint(least, 3)
        return " ".join(chance.sample(SENTENCES[language], count))

    typed = chance.choice([_curly, str.upper, _wide, _hyphened, _decorated])
    posts = [
        (words(home, 2), plain),
        (words(home), plain),
        (typed(words(home)), Written(home, typed.__name__.strip("_"))),
        (words(guest), Written(guest, "guest")),
        (chance.choice([CODE, FORMULA, f"{CODE}\n\n{FORMULA}"]), Written("", "no words")),
        (chance.choice(SHORT.get(home, SHORT["en"])), Written("", "short")),
        (f"{words(home)}\n\n> {words(guest)} {words(guest)}", Written(home, "quotes another")),
        (chance.choice(NAMES), Written("", "names")),
    ]
    prompt, *responses = (
        _post(number, place, text, home if place == 0 else "")
        for place, (text, _) in enumerate(posts)
    )
    return Thread(prompt=prompt, responses=tuple(responses)), [written for _, written in posts]


def _post(number: int, place: int, text: str, language: str) -> Post:
    return Post(
        id=f"bilingual.example:{number}-{place}",
        thread_id=f"bilingual.example:{number}-0",
        source="threads",
        site="bilingual.example",
        url="",
        title=SENTENCES[language][0] if language else "",
        text=text,
        markup="markdown",
        created_at=place,
        score=place,
        license="CC0-1.0",
    )


def _curly(text: str) -> str:
    return text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")


def _wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _hyphened(text: str) -> str:
    """Soft hyphens in the long words."""
    return " ".join(
        word[:3] + "\N{SOFT HYPHEN}" + word[3:] if len(word) > 5 else word for word in text.split()
    )


def _decorated(text: str) -> str:
    return f"\N{WAVING HAND SIGN} 1) {text} \N{GRINNING FACE} https://example.org/a/b?c=d 3.14 :-)"
