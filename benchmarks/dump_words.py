"""Vocabulary and sentence patterns of the generated dumps, in four languages.

Slots of a pattern: ``{n}`` noun phrase, ``{v}`` infinitive, ``{p}`` invented product, ``{d}``
number, ``{t}`` duration, ``{w}`` adverb, ``{c}`` inline code, ``{f}`` formula, ``{l}`` link,
``{b}`` bold or emphasised word. Prepositions are chosen so that articles need no contraction,
and German nouns so that nominative and accusative are the same.
"""

from typing import NamedTuple


class Language(NamedTuple):
    """Raw material of the sentences of one language."""

    nouns: tuple[str, ...]
    modifiers: tuple[str, ...]
    noun_phrase: str
    verbs: tuple[str, ...]
    durations: tuple[str, ...]
    adverbs: tuple[str, ...]
    patterns: tuple[str, ...]
    titles: tuple[str, ...]


def words(text: str) -> tuple[str, ...]:
    """Split at commas and line ends."""
    return tuple(part.strip() for line in text.splitlines() for part in line.split(",") if part)


def lines(text: str) -> tuple[str, ...]:
    """Split at line ends."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


ENGLISH = Language(
    nouns=words(
        """index, scheduler, parser, container, sensor, printer, cable, valve, oven, battery
        table, schema, column, thread, queue, socket, router, bridge, mirror, lens, shutter
        pipeline, module, driver, kernel, buffer, cache, archive, folder, template, stylesheet
        matrix, vector, proof, lemma, series, integral, graph, polynomial, sample, estimator
        recipe, dough, broth, kettle, grinder, filter, bicycle, chain, brake, saddle, engine
        pump, radiator, thermostat, keyboard, display, speaker, antenna, amplifier, resistor
        garden, hedge, seedling, compost, violin, score, chord, dictionary, grammar, contract
        invoice, passport, timetable, tent, compass, rope, telescope, orbit, rocket, glacier"""
    ),
    modifiers=words(
        """cached, nightly, remote, rusty, spare, nested, signed, sparse, hidden, shared, local
        wooden, cheap, second, outer, inner, stale, broken, empty, heavy, narrow, portable
        default, legacy, weekly, generated, encrypted, recursive, temporary, adjustable, frozen
        public, verified, blue, hollow, uneven, rotated, partial, borrowed, electric, quiet"""
    ),
    noun_phrase="the {modifier} {noun}",
    verbs=words(
        """rebuild, replace, measure, move, clean, export, compare, rename, tighten, mount, sort
        reset, translate, simplify, copy, unlock, merge, split, verify, calibrate, repaint, boil
        align, print, delete, restore, wrap, scale, invert, schedule, drain, label, polish, test"""
    ),
    durations=words(
        """three hours, two days, half an hour, a week, ten minutes, several months, one evening
        forty seconds, a fortnight, eight weeks, a few milliseconds, about a year, nine days"""
    ),
    adverbs=words(
        """slowly, again, correctly, at random, in silence, twice, without warning, every time
        only sometimes, quite well, far too early, at the same moment, in the wrong order"""
    ),
    patterns=lines(
        """
        When I {v} {n}, it works for {t} and then {n} stops {w}.
        I have tried to {v} {n} with {p}, but {n} still fails after {t}.
        The manual of {p} says on page {d} that {n} should come before {n}.
        After {t} I gave up on {p} and decided to {v} {n} {w}.
        My colleague uses {p} {d} and she can {v} {n} without touching {n}.
        If {n} is larger than {d}, then {p} will {v} {n} {w}.
        Does anybody know why {n} and {n} behave so differently under {p}?
        You should first {v} {n}, wait {t}, and only afterwards {v} {n}.
        In my experience {p} is better than {p} as soon as {n} has more than {d} parts.
        The log shows {d} lines about {n} and nothing at all about {n}.
        Somebody at {p} told me to {v} {n}, which took {t} and broke {n}.
        I bought {n} from {p} for {d} euros and it lasted {t}.
        What happens here is that {n} has to {v} {n} before {p} can see it.
        Between version {d} and version {d} they changed how {n} treats {n}.
        It is enough to {v} {n} once; {p} remembers {n} for {t}.
        There are {d} ways to {v} {n}, and most of them damage {n} {w}.
        Because {n} was made for {p}, you cannot simply {v} {n} like that.
        Look at {n} first: with {d} of them in {n}, even {p} gives up {w}.
        With {p} the answer came after {t}, and {n} did not {v} {n} any more.
        Note that {n} counts from {d}, whereas {n} in {p} counts from {d}.
        We measured {n} for {t} and found {d} errors, all of them near {n}.
        The easiest fix I know is to {v} {n} and to let {p} handle {n}.
        Nobody would {v} {n} by hand if {p} had documented {n} {w}.
        On a machine with {d} cores {p} needs {t} to {v} {n}.
        Please check whether {n} is really connected to {n} before you {v} {p}.
        It took me {t} to notice that {n} and {n} were both called {p}.
        For {n} the value is {d}, for {n} it is {d}, and {p} ignores both.
        My first idea was to {v} {n}, but then {p} complained about {n} {w}.
        An old trick from {p}: {v} {n}, keep {n} closed, and wait {t}.
        Unlike {p}, this approach lets {n} {v} {n} up to {d} times {w}.
        Call {c} before {n} is opened, otherwise {p} will {v} {n} {w}.
        The function {c} returns {d} here, although {n} holds {d} and {n} is empty.
        I replaced {c} by {c} and after {t} the problem with {n} was gone.
        Set {c} to {d} in {n} and {v} {n} again.
        Let {f} be the size of {n}; then {n} grows with {f} until {p} stops.
        As {f} for every part of {n}, the bound for {n} follows after {d} steps.
        There is a longer explanation of {n} in {l}, written for {p} {d}.
        See {l} for {n}, where they {v} {n} with {p} {w}.
        You need {b} of {n}, not all, and {p} must {v} {n} {w}.
        The important part is {b}: {n} never waits for {n} longer than {t}.
        """
    ),
    titles=lines(
        """
        How can I {v} {n} with {p} {d}?
        Why does {p} {v} {n} {w}?
        {p} {d}: cannot {v} {n} after {t}
        Is it safe to {v} {n} for {t}?
        What is the difference between {n} and {n} in {p}?
        Problem with {n} and {n} on {p} {d}
        Best way to {v} {n} {w} using {p}
        Should {n} be larger than {n} when I {v} {p}?
        """
    ),
)

FRENCH = Language(
    nouns=words(
        """le serveur, la table, le fichier, la colonne, le moteur, la pompe, le capteur, le four
        la recette, la pâte, le vélo, la chaîne, le frein, la selle, le clavier, la batterie
        le câble, la lampe, le jardin, la haie, le dictionnaire, la phrase, le verbe, la facture
        le contrat, la preuve, le théorème, la matrice, le vecteur, la suite, le graphe, la tente
        la boussole, la corde, le télescope, la fusée, le glacier, la carte, le disque, le pilote"""
    ),
    modifiers=words(
        """rapide, fragile, rouge, moderne, simple, propre, solide, vide, large, mince, tiède
        souple, sombre, rigide, utile, double, stable, mobile, rare, triste, calme, riche"""
    ),
    noun_phrase="{noun} {modifier}",
    verbs=words(
        """remplacer, mesurer, nettoyer, comparer, déplacer, vérifier, imprimer, traduire, trier
        copier, renommer, ouvrir, fermer, réparer, tester, diviser, serrer, aligner, remplir"""
    ),
    durations=words(
        """trois heures, deux jours, une semaine, dix minutes, plusieurs mois, un an, une nuit
        quarante secondes, quinze jours, huit semaines, une demi-heure"""
    ),
    adverbs=words(
        """lentement, encore une fois, correctement, sans prévenir, à chaque fois, trop tôt
        assez bien, en silence, deux fois, dans le mauvais ordre"""
    ),
    patterns=lines(
        """
        Quand je veux {v} {n}, cela marche pendant {t} et puis {n} s'arrête {w}.
        J'ai essayé avec {p}, mais {n} ne répond plus après {t}.
        Le manuel de {p} explique à la page {d} que {n} doit venir avant {n}.
        Après {t} j'ai abandonné {p} et j'ai décidé de {v} {n} {w}.
        Ma collègue utilise {p} {d} et elle peut {v} {n} sans toucher {n}.
        Si {n} est plus grand que {d}, alors {p} va {v} {n} {w}.
        Est-ce que quelqu'un sait pourquoi {n} et {n} sont si différents avec {p} ?
        Il faut d'abord {v} {n}, attendre {t}, et ensuite seulement {v} {n}.
        Le journal montre {d} lignes sur {n} et rien du tout sur {n}.
        On m'a conseillé chez {p} de {v} {n}, ce qui a duré {t}.
        Entre la version {d} et la version {d}, ils ont changé {n} pour {n}.
        Il y a {d} façons de {v} {n}, mais la plupart abîment {n} {w}.
        Comme {n} est prévu pour {p}, on ne peut pas simplement {v} {n}.
        Nous avons observé {n} pendant {t} et trouvé {d} erreurs dans {n}.
        La solution la plus simple est de {v} {n} et de laisser {p} gérer {n}.
        Vérifiez que {n} est vraiment relié avec {n} avant de {v} {p}.
        Pour {n} la valeur est {d}, pour {n} elle est {d}, et {p} les ignore.
        Appelez {c} avant que {n} soit ouvert, sinon {p} va {v} {n} {w}.
        Il y a une explication plus longue sur {n} dans {l}, écrite pour {p} {d}.
        Le plus important est {b} : {n} n'attend jamais {n} plus de {t}.
        """
    ),
    titles=lines(
        """
        Comment {v} {n} avec {p} {d} ?
        Pourquoi {n} ne marche plus après {t} avec {p} ?
        Quelle est la différence entre {n} et {n} dans {p} ?
        {p} {d} : impossible de {v} {n} {w}
        """
    ),
)

SPANISH = Language(
    nouns=words(
        """el servidor, la tabla, el archivo, la columna, el motor, la bomba, el sensor, el horno
        la receta, la masa, el freno, la cadena, el teclado, la batería, el cable, la lámpara
        el jardín, la planta, el diccionario, la frase, el verbo, la factura, el contrato
        la prueba, el teorema, la matriz, el vector, la serie, la tienda, la brújula, la cuerda
        el telescopio, el cohete, el glaciar, el mapa, el disco, la puerta, la ventana, el reloj"""
    ),
    modifiers=words(
        """frágil, azul, grande, simple, útil, flexible, verde, doble, estable, inmóvil, breve
        suave, fuerte, especial, normal, digital, manual, central, local, enorme, triste"""
    ),
    noun_phrase="{noun} {modifier}",
    verbs=words(
        """cambiar, medir, limpiar, comparar, mover, revisar, imprimir, traducir, ordenar, copiar
        abrir, cerrar, reparar, probar, dividir, apretar, llenar, pintar, guardar, calentar"""
    ),
    durations=words(
        """tres horas, dos días, una semana, diez minutos, varios meses, un año, una noche
        cuarenta segundos, quince días, ocho semanas, media hora"""
    ),
    adverbs=words(
        """lentamente, otra vez, correctamente, sin avisar, cada vez, demasiado pronto
        bastante bien, en silencio, dos veces, en el orden equivocado"""
    ),
    patterns=lines(
        """
        Cuando intento {v} {n}, funciona durante {t} y después {n} se para {w}.
        He probado con {p}, pero {n} ya no responde después de {t}.
        El manual de {p} dice en la página {d} que {n} va antes que {n}.
        Después de {t} dejé {p} y decidí {v} {n} {w}.
        Mi compañera usa {p} {d} y ella puede {v} {n} sin tocar {n}.
        Si {n} es más grande que {d}, entonces {p} va a {v} {n} {w}.
        ¿Alguien sabe por qué {n} y {n} son tan diferentes con {p}?
        Primero hay que {v} {n}, esperar {t}, y solo entonces {v} {n}.
        El registro muestra {d} líneas sobre {n} y nada sobre {n}.
        Me dijeron en {p} que debía {v} {n}, y eso tardó {t}.
        Entre la versión {d} y la versión {d} cambiaron {n} por {n}.
        Hay {d} maneras de {v} {n}, pero casi todas estropean {n} {w}.
        Como {n} está hecho para {p}, no se puede {v} {n} así.
        Hemos observado {n} durante {t} y encontramos {d} errores en {n}.
        La solución más sencilla es {v} {n} y dejar que {p} controle {n}.
        Comprueba que {n} está conectado con {n} antes de {v} {p}.
        Para {n} el valor es {d}, para {n} es {d}, y {p} no los usa.
        Llama {c} antes de abrir {n}, porque si no {p} va a {v} {n} {w}.
        Hay una explicación más larga sobre {n} en {l}, escrita para {p} {d}.
        Lo más importante es {b}: {n} nunca espera {n} más de {t}.
        """
    ),
    titles=lines(
        """
        ¿Cómo puedo {v} {n} con {p} {d}?
        ¿Por qué {n} no funciona después de {t} con {p}?
        ¿Cuál es la diferencia entre {n} y {n} en {p}?
        {p} {d}: no consigo {v} {n} {w}
        """
    ),
)

GERMAN = Language(
    nouns=words(
        """die Datenbank, das Verzeichnis, die Spalte, die Pumpe, das Ventil, die Batterie
        das Kabel, die Lampe, das Rezept, die Hefe, das Fahrrad, die Kette, die Bremse, die Tastatur
        das Fenster, die Tür, die Rechnung, das Wörterbuch, die Grammatik, das Zelt, die Karte
        die Matrix, die Folge, das Integral, die Gleichung, das Modul, die Leitung, das Getriebe
        die Antenne, das Gehäuse, die Schraube, das Werkzeug, die Hecke, das Beet, die Geige"""
    ),
    modifiers=words(
        """alte, neue, kleine, große, rote, blaue, leere, zweite, dritte, schwere, leichte, kalte
        warme, gebrauchte, kaputte, einfache, schnelle, lange, kurze, stille, runde, dunkle"""
    ),
    noun_phrase="{article} {modifier} {bare}",
    verbs=words(
        """ersetzen, messen, reinigen, vergleichen, verschieben, prüfen, drucken, übersetzen
        sortieren, kopieren, öffnen, schließen, reparieren, testen, teilen, füllen, streichen"""
    ),
    durations=words(
        """drei Stunden, zwei Tage, eine Woche, zehn Minuten, mehrere Monate, ein Jahr
        vierzig Sekunden, acht Wochen, eine halbe Stunde, neun Tage"""
    ),
    adverbs=words(
        """langsam, noch einmal, richtig, ohne Warnung, jedes Mal, viel zu früh, ziemlich gut
        zweimal, in der falschen Reihenfolge, nur manchmal"""
    ),
    patterns=lines(
        """
        Wenn ich {n} benutze, um {n} zu {v}, dann dauert es {t} und endet {w}.
        Ich habe es mit {p} versucht, aber {n} ist für {t} nicht erreichbar.
        Im Handbuch von {p} steht auf Seite {d}, dass {n} zuerst kommt und {n} danach.
        Für {t} habe ich {p} verwendet, jetzt will ich {n} {w} {v}.
        Meine Kollegin nutzt {p} {d} und kann {n} {v}, ohne {n} anzufassen.
        Wenn {n} größer als {d} ist, wird {p} auch {n} {w} {v}.
        Weiß jemand, warum {n} und {n} unter {p} so verschieden sind?
        Du solltest zuerst {n} {v}, {t} warten und erst danach {n} {v}.
        Das Protokoll zeigt {d} Zeilen über {n} und gar nichts über {n}.
        Bei {p} hat man mir geraten, {n} zu {v}, das hat {t} gedauert.
        Zwischen Version {d} und Version {d} wurde {n} durch {n} ersetzt.
        Es gibt {d} Wege, {n} zu {v}, aber die meisten beschädigen {n} {w}.
        Weil {n} für {p} gemacht ist, kann man {n} nicht einfach so {v}.
        Wir haben {n} beobachtet und nach {d} Versuchen auch {n} mit {p} gefunden.
        Am einfachsten ist es, {n} zu {v} und {p} machen zu lassen, was {n} braucht.
        Bitte prüfe, ob {n} wirklich verbunden ist, bevor du {n} mit {p} {v} willst.
        Für {n} ist der Wert {d}, für {n} ist er {d}, und {p} ignoriert beide.
        Rufe {c} auf, bevor {n} offen ist, sonst wird {p} auch {n} {w} {v}.
        Eine längere Erklärung über {n} gibt es in {l}, geschrieben für {p} {d}.
        Das Wichtigste ist {b}: {n} wartet nie länger als {t} auf {p}.
        """
    ),
    titles=lines(
        """
        Wie kann ich {n} mit {p} {d} {v}?
        Warum ist {n} nach einem Neustart von {p} {w} langsam?
        Was ist der Unterschied zwischen {p} und {p}, wenn ich {n} {v} will?
        {p} {d}: ich kann {n} nicht {w} {v}
        """
    ),
)

LANGUAGES = {"en": ENGLISH, "fr": FRENCH, "es": SPANISH, "de": GERMAN}

BOLD = {
    "en": words("one half, the order, patience, a small part, the first step, the sign"),
    "fr": words("la moitié, l'ordre, la patience, le signe, le premier pas"),
    "es": words("la mitad, el orden, la paciencia, el signo, el primer paso"),
    "de": words("die Hälfte, die Reihenfolge, die Geduld, das Vorzeichen, der erste Schritt"),
}

SYLLABLES = words(
    """ba, cor, dex, fen, gri, hal, jo, kor, lum, mi, nov, or, pel, qua, ri, sol, tan, ul, vel, wex
    xa, yor, zen, bri, cal, dro, el, fal, gor, hex, in, kal, lor, mar, nex, pra, ro, sta, tri, vo"""
)

TAGS = words(
    """python, hardware, cooking, algebra, grammar, networking, statistics, optics, gardening
    sql, proofs, baking, music-theory, travel, law, bicycles, electronics, regex, linux, maps
    probability, geometry, css, chess, astronomy, plumbing, shell, sorting, unicode, history"""
)

CODE_LINES = tuple(
    line
    for line in """
{i} = {i}({d}, {i}[{d}])
for {i} in {i}({d}):
    if {i} < {d} and {i} != "{i}":
        {i}.append({i} * {d})
def {i}({i}, {i}={d}):
    return {i}({i}) + {i}.{i}[{d}]
print("{i}:", {i}.{i}, {d} & {d})
const {i} = {i}.map(({i}) => {i}.{i} % {d});
SELECT {i}, {i} FROM {i} WHERE {i} > {d};
let {i}: u{d} = {i}.{i}().unwrap_or({d});
#define {i} ({i} << {d})
{i}->{i} = &{i}[{d}];
while ({i} <= {d}) { {i} += {i}({d}); }
# {i} {d} {i} {d}
assert {i}.{i}({d}) == {i}({d}), "{i}"
""".splitlines()
    if line
)
FORMULAS = lines(
    """
    ${i}_{d} \\le {d}$
    $\\frac{{d}}{{i} + {d}}$
    $\\sum_{k=1}^{{d}} {i}_k < {d}$
    $\\sqrt{{i}^{d} + {d}}$
    $\\alpha_{{i}} & \\beta_{{d}}$
    """
)
