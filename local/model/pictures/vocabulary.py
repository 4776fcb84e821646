"""The words that choose what is in a picture, in the languages that prompts here are likely to be in.

`scene.py` looks words up in these tables; each row is what it stands for and the words, separated by spaces.
"""

# ruff: noqa: RUF001 - letters of other alphabets are meant
from __future__ import annotations

HOURS: dict[str, str] = {
    "sunset": (
        "sunset sundown evening golden dusk twilight закат вечер sonnenuntergang abend coucher "
        "atardecer 夕 黄昏 غروب שקיעה"
    ),
    "dawn": ("dawn sunrise morning рассвет утро sonnenaufgang morgen aube amanecer 朝 日出 شروق זריחה"),
    "night": (
        "night midnight moon moonlit moonlight stars starry ночь луна звезды звёзды nacht mond "
        "nuit noche 夜 月 星 ليل قمر לילה ירח"
    ),
    "storm": (
        "storm stormy rain rainy thunder fog foggy mist misty cloudy overcast шторм дождь туман "
        "sturm regen nebel pluie 雨 雾 霧 مطر גשם"
    ),
    "day": ("day noon sunny summer bright spring день лето sommer tag été verano 昼 晴 夏 نهار יום"),
}
"""The hour and light."""

PLACES: dict[str, str] = {
    "sea": (
        "sea ocean beach coast harbour harbor bay lake river water wave waves shore island "
        "lighthouse boat sailboat ship yacht море океан пляж озеро река маяк лодка корабль meer "
        "see strand boot schiff leuchtturm mer plage mar playa barco 海 湖 河 船 بحر بحيرة سفينة ים "
        "אגם סירה"
    ),
    "mountains": (
        "mountain mountains alps alpine peak peaks summit cliff snow valley volcano горы гора "
        "вершина снег berg berge alpen schnee montagne montaña 山 雪 جبل جبال הר הרים"
    ),
    "forest": (
        "forest woods wood woodland trees pine pines jungle fox deer bear лес деревья сосны лиса "
        "wald bäume fuchs forêt bosque 森 林 狐 غابة יער"
    ),
    "city": (
        "city town skyline street urban building buildings skyscraper skyscrapers downtown tower "
        "towers car город улица башня stadt straße turm auto ville ciudad 城 市 街 塔 مدينة עיר"
    ),
    "desert": ("desert dune dunes sahara camel cactus canyon mars пустыня wüste désert desierto 沙漠 صحراء מדבר"),
    "hills": (
        "hill hills meadow field fields garden farm grass village countryside park house cottage "
        "home cat dog sheep flower flowers tree kite balloon поле луг сад дом кот кошка собака "
        "цветы цветок дерево feld wiese garten haus katze hund blume baum maison chat chien fleur "
        "casa gato perro flor 丘 花 家 猫 犬 狗 木 بيت قطة كلب زهرة בית חתול כלב פרח"
    ),
    "space": (
        "space galaxy planet planets rocket astronaut nebula universe cosmos orbit космос планета "
        "ракета weltraum planet rakete espace espacio 宇宙 星球 فضاء חלל"
    ),
    "underwater": ("underwater fish coral reef aquarium whale dolphin рыба риф fisch poisson pez 魚 鱼 سمك דג"),
    "table": (
        "cup mug coffee tea table still apple fruit vase book bowl breakfast кофе чай чашка "
        "яблоко стол книга kaffee tasse apfel tisch buch café thé pomme livre taza manzana libro "
        "茶 咖啡 苹果 林檎 本 书 قهوة كتاب קפה ספר"
    ),
}
"""The place. `hills` is what a house or an animal suggests by itself."""

WEATHER: dict[str, str] = {
    "rain": "rain rainy дождь regen pluie lluvia 雨 مطر גשם",
    "snow": "snow snowy winter снег зима schnee neige nieve 雪 冬 ثلج שלג",
    "fog": "fog foggy mist misty туман nebel brume niebla 霧 雾 ضباب",
}
"""What falls or hangs in the air."""

THINGS: dict[str, str] = {
    "cat": "cat kitten cats кот кошка котёнок katze chat gato 猫 قطة חתול",
    "dog": "dog puppy dogs собака щенок hund chien perro 犬 狗 كلب כלב",
    "fox": "fox лиса fuchs renard zorro 狐 ثعلب שועל",
    "bird": ("bird birds gull gulls seagull seagulls птица птицы vogel oiseau pájaro 鳥 鸟 طائر ציפור"),
    "fish": "fish рыба fisch poisson pez 魚 鱼 سمك דג",
    "house": "house home cottage hut cabin farm village дом haus maison casa 家 بيت בית",
    "tree": "tree дерево baum arbre árbol 木 树 شجرة עץ",
    "sailboat": ("boat boats sailboat ship yacht sail лодка корабль парус boot schiff bateau barco 船 سفينة סירה"),
    "lighthouse": "lighthouse маяк leuchtturm phare faro 灯台 灯塔 منارة מגדלור",
    "balloon": "balloon balloons шар ballon globo 気球 气球 منطاد",
    "flower": ("flower flowers rose tulip sunflower цветок цветы роза blume fleur flor 花 زهرة פרח"),
    "mug": "cup mug coffee tea чашка кофе чай tasse kaffee café taza 茶 咖啡 قهوة קפה",
    "apple": "apple apples fruit яблоко apfel pomme manzana 苹果 林檎 تفاحة תפוח",
    "book": "book books книга buch livre libro 本 书 كتاب ספר",
    "rocket": "rocket spaceship spacecraft ракета rakete fusée cohete ロケット 火箭 صاروخ",
    "robot": "robot robots android робот roboter ロボット 机器人 روبوت רובוט",
    "heart": "heart love hearts сердце любовь herz liebe coeur corazón amor 心 愛 爱 قلب לב",
    "car": "car taxi машина auto wagen voiture coche 車 车 سيارة מכונית",
    "cactus": "cactus кактус kaktus سقوط",
}
"""Figures of `things.py`."""

COLOURS: dict[int, str] = {
    0xD33A2C: "red scarlet crimson красный красная красное rot rote rouge rojo 红 赤 أحمر אדום",
    0xE8842A: "orange amber ginger рыжий рыжая оранжевый naranja 橙 برتقالي כתום",
    0xF2C230: "yellow gold lemon жёлтый желтый золотой gelb jaune amarillo 黄 أصفر צהוב",
    0x4C9A4A: "green emerald olive зелёный зеленый зелёная grün vert verde 緑 绿 أخضر ירוק",
    0x1FA3A3: "teal turquoise cyan бирюзовый türkis 青緑",
    0x2F6BC2: "blue navy azure синий синяя голубой голубая blau bleu azul 青 蓝 أزرق כחול",
    0x7A4BB0: "purple violet lavender фиолетовый lila violett 紫 بنفسجي סגול",
    0xE77FA8: "pink розовый rosa rose 桃 粉 وردي ורוד",
    0x2A2A30: "black чёрный черный чёрная schwarz noir negro 黑 黒 أسود שחור",
    0xF2EFE8: "white белый белая weiß blanc blanco 白 أبيض לבן",
    0x8A5A34: "brown коричневый braun marron 茶色 棕 بني חום",
    0x8C9096: "grey gray silver серый grau gris 灰 رمادي אפור",
}
"""Colours as 0xRRGGBB."""

RUSSIAN_ENDINGS = "ами ями ого его ому ему ый ий ая яя ое ее ые ие ой ей ом ем ах ях ам ям ов ев а я о е и ы у ю ь й"
"""Case endings, longest first: a word is looked up without its own."""
