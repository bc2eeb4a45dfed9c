#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes short children's stories in simple English, one per line.

The stories are made from our own templates: a skeleton (a hero, a problem, its
resolution and a small moral) is chosen, its slots are filled, and every
sentence is one of many variants.  The same seed gives the same stories.

Templates:  [a|b|c] is one of these, earlier ones more often, and [?a|b|c] may be
left out; {slot} and {role.form} are filled in; a~ becomes "a" or "an";
<role mood: Words.> becomes a line of dialogue.  Capitals are set at the end.
"""
import argparse
import random
import re

MIN_WORDS, MAX_WORDS = 60, 160
OPTIONAL = 0.25  # how often an optional part stays in

GIRLS = ["Lily", "Mia", "Anna", "Rosie", "Emma", "Lucy", "Sue", "Molly", "Ella", "Nora"]
BOYS = ["Tom", "Ben", "Max", "Sam", "Leo", "Jack", "Tim", "Finn", "Billy", "Oscar"]
ANIMAL_GIRLS = ["Dot", "Coco", "Ruby", "Poppy", "Daisy", "Honey", "Tilly"]
ANIMAL_BOYS = ["Pip", "Bobo", "Benny", "Teddy", "Rusty", "Toby", "Hoppy"]

ADJECTIVES = ["little", "kind", "happy", "young", "small", "curious", "brave", "cheerful"]
LANDS = ["forest", "village", "valley", "land of the hills"]
CHILD_HOMES = ["in a small house near the forest", "in a little town by the sea",
               "in a cozy house on a hill", "on a quiet farm", "in a small village"]
CHILD_HOBBIES = ["play outside", "draw pictures", "sing songs", "read books", "run and jump",
                 "look at the clouds"]
ANIMALS = {
    "rabbit": ("in a warm hole under a big tree", ["hop in the grass", "eat carrots"]),
    "bear": ("in a cave in the forest", ["eat honey", "climb trees"]),
    "mouse": ("in a tiny house by the old barn", ["nibble cheese", "play hide and seek"]),
    "fox": ("in a den in the woods", ["run in the woods", "look at the stars"]),
    "squirrel": ("in a tall oak tree", ["jump from tree to tree", "look for nuts"]),
    "duck": ("beside a blue pond", ["swim in the pond", "splash in the water"]),
    "frog": ("near a quiet pond", ["jump over puddles", "sing at night"]),
    "hedgehog": ("under a pile of leaves", ["roll in the leaves", "look for berries"]),
    "kitten": ("in a cozy barn", ["chase butterflies", "sleep in the sun"]),
    "puppy": ("on a sunny farm", ["run in the fields", "dig holes"]),
}
PARENTS = [("mom", "she"), ("dad", "he"), ("grandma", "she"), ("grandpa", "he")]
PRONOUNS = {
    "she": dict(he="she", him="her", his="her", himself="herself"),
    "he": dict(he="he", him="him", his="his", himself="himself"),
}

# Slots that any template may use.
COMMON = {
    "colour": ["red", "blue", "yellow", "green", "pink", "purple", "orange", "white"],
    "place": [
        {"": "the park", "at": "in the park"}, {"": "the garden", "at": "in the garden"},
        {"": "the meadow", "at": "in the meadow"}, {"": "the forest", "at": "in the forest"},
        {"": "the river", "at": "by the river"}, {"": "the beach", "at": "at the beach"},
        {"": "the hill", "at": "on the hill"}, {"": "the lake", "at": "by the lake"},
    ],
    "weather": ["sunny", "warm", "bright", "windy", "cool", "lovely"],
    "time": ["morning", "day", "afternoon"],
    "treat": ["apple", "cookie", "cake", "sandwich", "pear", "muffin", "banana", "orange"],
}

MOODS = {
    None: ([""], []),
    "happy": (["", "happily", "with a big smile"], ["smiled and said", "laughed and said"]),
    "sad": (["", "sadly", "in a small voice"], ["sighed and said"]),
    "kind": (["", "kindly", "softly", "gently"], ["smiled and said", "nodded and said"]),
    "scared": (["", "in a small voice", "with a shaky voice"], []),
}
VERBS = {".": ["said"], "!": ["said", "cried"], "?": ["asked"]}
KEEP_CASE = "\x01"

INTRO = ("[Once upon a time, there was a~ {h.adj} {h.kind} named {h}. "
         "[{h.he} lived {h.home}.|{h.he} lived {h.home} with {h.his} family.|"
         "{h.he} loved to {h.hobby}.|{h.he} lived {h.home} and loved to {h.hobby}.]"
         "|Once there was a~ {h.adj} {h.kind} named {h} who loved to {h.hobby}."
         "|There once was a~ {h.adj} {h.kind} named {h}. [{h.he} lived {h.home}.|"
         "Every day, {h.he} liked to {h.hobby}.]"
         "|{h} was a~ {h.adj} {h.kind} who lived {h.home}. "
         "[{h.he} loved to {h.hobby}.|{h.he} had many friends.|]"
         "|This is a story about a~ {h.adj} {h.kind} named {h}. {h.he} lived {h.home}."
         "|A~ {h.adj} {h.kind} named {h} lived {h.home}. [{h.he} loved to {h.hobby}.|]"
         "|[Long ago|Far away|Not long ago], there lived a~ {h.adj} {h.kind}. {h.his} name was "
         "{h}, and {h.he} loved to {h.hobby}."
         "|In the {h.land}, there was a~ {h.adj} {h.kind} named {h}.]")
ONE_DAY = ("[One [{weather} |]{time}|One day|One {weather} {time}|Early one morning"
           "|On a {weather} {time}]")
THANKS = ("[<h happy: Thank you, {f}! You are a good friend.>|<h happy: Thank you so much!>"
          "|{h} gave {f} a big hug. <h happy: Thank you!>"
          "|{h} thanked {f} and gave {f.him} a hug.]")
FRIENDS_END = ("[?They were very happy and played together until the sun went down."
               "|{h} and {f} played together all day."
               "|From that day on, {h} and {f} were best friends."
               "|They laughed and walked home together."
               "|It was a very good day for both of them.]")
HOME_END = ("[?That night, {h} went to bed with a big smile."
            "|{h} was very happy and slept well that night."
            "|{h} gave {p} a big hug and felt warm inside."
            "|It was the best day ever."
            "|After that, they all had supper together and laughed a lot.]")

# Each skeleton: who the hero may be, its own slots, and its sentences.  A slot of dictionaries
# is used as {slot.key}; a slot (n, list) gives n different values {slot1}, {slot2} and so on.
SKELETONS = {
    "lost toy": ("any", {
        "toy": ["ball", "teddy bear", "toy boat", "kite", "toy car", "drum"],
        "spot": (3, ["under a bush", "behind a big tree", "in the tall grass", "near the old wall",
                     "behind a rock", "under a bench"]),
    }, [
        INTRO,
        "{h.he} had a~ {colour} {toy} [that {h.he} loved very much|and took it everywhere"
        "|that {h.his} {p.word} had made for {h.him}].",
        ONE_DAY + ", {h} took the {toy} to {place}. [{h.he} played and played until {h.he} fell "
        "asleep. When {h.he} woke up, the {toy} was gone!|{h.he} saw a butterfly and ran after "
        "it. When {h.he} came back, the {toy} was gone!|Then a strong wind blew, and the {toy} "
        "was gone!]",
        "[{h} was very sad and started to cry.|{h} felt so sad.|{h} looked and looked, but "
        "{h.he} could not find it.]",
        "[{f.full} heard {h.him} and came to help.|Just then, {f.full} came by.] "
        "<f kind: [Why are you sad, {h}?|What is wrong, {h}?]> "
        "<h sad: [I lost my {toy}.|My {toy} is gone.|I cannot find my {toy}.]> "
        "<f kind: [Do not worry. I will help you find it.|Let us look for it together.]>",
        "They looked {spot1} and {spot2}, but it was not there. [Then|At last|After a while], "
        "{f} looked {spot3} and saw something {colour}. <f happy: [Here it is!|I found it!]>",
        THANKS,
        "[{h} learned that a good friend is better than any toy.|{h} was happy to have such a "
        "good friend.|{h} knew that it is easier to look with a friend.]",
        FRIENDS_END,
    ]),
    "sharing": ("any", {
        "when": ["sat down under a tree", "sat on a bench", "found a nice spot in the sun"],
    }, [
        INTRO,
        ONE_DAY + ", {h.his} {p.word} gave {h.him} a big {treat}. <p kind: [This is for you, {h}."
        "|Have a nice day, {h}.]> {h} took it to {place} and {when}.",
        "[{h} was about to eat the {treat} when {h.he} saw {f.full}.|Then {f.full} came by.] "
        "{f} looked [sad and hungry|very hungry|tired and sad].",
        "<h kind: [What is wrong, {f}?|Are you hungry, {f}?|Why do you look so sad?]> "
        "<f sad: [I have nothing to eat today.|I forgot my lunch at home.|I dropped my lunch in "
        "the mud.]>",
        "[?{h} looked at the {treat}. It was big, and it smelled so good.|{h} wanted to eat the "
        "whole {treat}, but {h.he} felt sorry for {f}.|{h} thought for a moment.] "
        "[Then {h} had an idea.|Then {h} smiled.]",
        "<h happy: [We can share it!|Let us share!|You can have half of my {treat}.]> {h} broke "
        "the {treat} in two and gave [one half|the bigger half] to {f}.",
        "[{f} was so happy.|{f} ate it all and smiled.|{f} smiled from ear to ear.] "
        "<f happy: [Thank you, {h}! You are very kind.|Thank you! This is the best {treat} ever.]>",
        "[{h} felt happy too. {h.he} learned that sharing makes everything better."
        "|The {treat} tasted even better because they ate it together."
        "|{h} learned that it feels good to share.]",
        FRIENDS_END,
    ]),
    "hurt animal": ("child", {
        "patient": [
            dict(kind="bird", hurt="wing", gone="flew up into the sky", food="some seeds"),
            dict(kind="rabbit", hurt="leg", gone="hopped back to the forest", food="a carrot"),
            dict(kind="fox", hurt="paw", gone="ran back to the woods", food="some meat"),
            dict(kind="squirrel", hurt="tail", gone="ran up a tall tree", food="some nuts"),
            dict(kind="duck", hurt="foot", gone="swam across the pond", food="some bread"),
        ],
        "bed": ["a box with a soft blanket", "a basket with warm towels", "a bed of soft leaves"],
    }, [
        INTRO,
        ONE_DAY + ", {h} was walking near {place} when {h.he} heard a small sound. [{h.he} looked "
        "down and saw a little {patient.kind}.|In the grass, there was a tiny {patient.kind}.] "
        "[It had a hurt {patient.hurt}.|Its {patient.hurt} was hurt and it could not move.]",
        "[?<h kind: [Do not be afraid, little {patient.kind}. I will help you.|Oh no, you poor "
        "little {patient.kind}!]>] {h} [picked it up very gently|held it in {h.his} hands] and "
        "carried it home.",
        "{p} looked at the {patient.hurt} and said, \"[It needs rest and love.|We can help it get "
        "better.|It must rest for a few days.]\" They made {bed}, and {h} gave the {patient.kind} "
        "{patient.food} and [some water|a bowl of water].",
        "Every day, {h} [sat next to|took care of|sang a song to] the {patient.kind}. [Day by day, "
        "it got stronger.|Soon it began to feel better.|After a week, it was well again.]",
        "[One morning|At last], {h} took the {patient.kind} outside. [?{h.he} felt a little sad, "
        "but {h.he} knew it was time to say goodbye.|<h sad: I will miss you.>] The "
        "{patient.kind} looked at {h.him}, and then it {patient.gone}.",
        "[The next day|A few days later], the {patient.kind} came back to visit. {h} was so happy! "
        "[{h.he} learned that being kind can bring you a new friend.|<p kind: You were kind, and "
        "now you have a friend.>|From that day on, they were good friends.]",
    ]),
    "learning": ("child", {
        "skill": [
            dict(do="ride a bike", fail="fell off and hurt {h.his} knee",
                 win="rode all the way down the road", doing="riding"),
            dict(do="swim", fail="got water in {h.his} nose",
                 win="swam across the pool", doing="swimming"),
            dict(do="fly a kite", fail="ran fast, but the kite fell down",
                 win="made the kite fly high in the sky", doing="flying"),
            dict(do="skate", fail="slipped and fell on the ice",
                 win="skated all around the pond", doing="skating"),
            dict(do="jump rope", fail="got the rope stuck on {h.his} feet",
                 win="jumped ten times in a row", doing="jumping"),
        ],
    }, [
        INTRO,
        "{h} wanted to learn to {skill.do}. [?All {h.his} friends could do it, but {h} could not."
        "|{h.he} had seen {f} do it many times.|It looked like so much fun.]",
        ONE_DAY + ", {h} tried for the first time. {h.he} {skill.fail}. <h sad: [This is too hard!"
        "|I will never learn to {skill.do}!|I cannot do it.]> [?{h} sat down and cried.|{h} wanted "
        "to stop.|{h} felt very sad.]",
        "{p} came and sat next to {h.him}. <p kind: [Everyone falls at first. You just have to "
        "try again.|It is okay. New things are hard at first.|Do not give up. You can do it if "
        "you try.]>",
        "[{h} took a deep breath|{h} wiped {h.his} eyes|{h} stood up] and tried again. [?The "
        "second time was a little better.|It was still hard, but {h.he} did not stop.] {h.he} "
        "tried again [the next day|and again], and [the day after that|{p} helped {h.him} every "
        "time].",
        "[Then one day, it happened!|At last, it worked!] {h} {skill.win}! "
        "<h happy: [Look at me! I can do it!|I did it! I did it!|Look, I am {skill.doing}!]> "
        "[?{p} clapped and cheered.|{p} was very proud.]",
        "[{h} learned that if you keep trying, you can do hard things.|{h} learned to never give "
        "up.|{h} was so proud. {h.he} knew that trying again is the best way to learn.]",
        HOME_END,
    ]),
    "night noise": ("any", {
        "noise": [
            dict(sound="a tap, tap, tap", cause="a branch that was tapping on the window"),
            dict(sound="a soft scratching sound", cause="a little mouse looking for food"),
            dict(sound="a loud bang", cause="a door that moved in the wind"),
            dict(sound="a long, low sound", cause="an old owl singing to the moon"),
            dict(sound="a drip, drip, drip", cause="the rain falling from the roof"),
        ],
        "light": ["lamp", "candle", "little light"],
    }, [
        INTRO,
        "[But {h} was afraid of the dark.|There was only one thing {h.he} did not like. {h.he} was "
        "afraid of the dark.|{h} was brave all day, but at night {h.he} was afraid.]",
        "One night, {h} was in bed when {h.he} heard {noise.sound}. [?{h} hid under the blanket."
        "|{h.his} heart beat very fast.|{h} sat up and held the blanket.] "
        "<h scared: [What is that?|Is it a monster?|Who is there?]>",
        "{h} called for {p}. {p} came with a {light}. <p kind: [Let us go and look together.|Do "
        "not be afraid. We will see what it is.|We can be brave together.]>",
        "{h} was [still scared|a little scared], but {h.he} [took {p.his} hand|held {p.his} hand "
        "and got up]. They walked slowly to the sound and looked. It was only {noise.cause}!",
        "{h} started to laugh. <h happy: [It was not a monster at all!|I was afraid of nothing!"
        "|That is not scary!]> [?<p kind: [Things often look smaller in the light.|You were very "
        "brave to look.|Now you know what it is.]>]",
        "[{h} learned that being brave means to look even when you are scared.|After that, {h} was "
        "not afraid of the dark anymore.|{h} went back to bed and felt brave.]",
        "[?{p} gave {h.him} a kiss, and soon {h} was fast asleep.|Soon {h} was asleep, and the "
        "moon smiled in the sky.|{h} closed {h.his} eyes and had sweet dreams.]",
    ]),
    "broken thing": ("child", {
        "thing": ["cup", "vase", "plate", "lamp", "clock", "bowl"],
        "game": ["playing with a ball", "running around", "dancing", "jumping on the sofa"],
    }, [
        INTRO,
        ONE_DAY + ", {h} was {game} in the house. [?{p} had told {h.him} not to do that, but {h} "
        "forgot.|It was so much fun that {h.he} did not look where {h.he} was going.] Crash! A "
        "{colour} {thing} fell down and broke.",
        "[?Oh no! It was the {thing} that {p} loved.|{h} stood very still. {h.he} felt bad "
        "inside.] [{h} was afraid that {p} would be angry.|{h} did not know what to do.] [?{h.he} "
        "wanted to hide the pieces under the rug.|First, {h.he} wanted to run away and "
        "hide.|{h.he} thought about saying that the cat did it.]",
        "[But {h} knew that was not right.|But then {h.he} thought that it is wrong to lie.] {h} "
        "went to {p} and said, \"[I am sorry, {p.call}. I broke your {thing}.|{p.call}, I broke "
        "the {thing}. I am very sorry.]\"",
        "{p} looked at the {thing} and then at {h}. [{p} was not angry.|{p.he} was quiet for a "
        "moment.] <p kind: [Thank you for telling me the truth. That was brave.|I am glad that you "
        "told me. A {thing} is only a thing.|It is okay. You told the truth, and that makes me "
        "proud.]>",
        "They cleaned up together. [?{h} used glue to fix the {thing}, and it looked almost new."
        "|Then {h} made a new {thing} out of clay.|{h} helped to pick up all the pieces.]",
        "[{h} felt much better. {h.he} learned that it is always good to tell the truth.|{h} "
        "learned that the truth is better than a lie.|From that day on, {h} always told the "
        "truth.]",
        HOME_END,
    ]),
    "seed": ("any", {
        "plant": [
            dict(what="a tall sunflower", fruit="It was as yellow as the sun"),
            dict(what="a big pumpkin", fruit="It was round and orange"),
            dict(what="a bush full of berries", fruit="The berries were sweet and red"),
            dict(what="a rose", fruit="It was pink and smelled so sweet"),
            dict(what="a small apple tree", fruit="It had green leaves and a red apple"),
        ],
    }, [
        INTRO,
        ONE_DAY + ", {p} gave {h} a tiny seed. <h: [What will it be?|What is it?|What can I do "
        "with it?]> <p kind: [Plant it, and you will see.|You must wait and see.|Put it in the "
        "ground and give it water.]>",
        "{h} dug a hole in the garden, put the seed inside, and gave it some water. [Then {h.he} "
        "sat down and waited.|The next morning, {h.he} ran outside to look.] [But nothing "
        "happened.|There was only brown dirt.]",
        "[?[The next day, there was still nothing.|{h} waited and waited.|{h} looked every morning "
        "and every night.]] <h sad: [It will never grow!|Why is it so slow?|Maybe it is a bad "
        "seed.]> <p kind: [Good things take time.|Be patient, {h}. It is growing under the "
        "ground.|Give it water and love, and wait.]>",
        "So {h} gave it water every day. [{h.he} sang to it, too.|{h.he} told it stories, too.|] "
        "[?The sun was warm and the rain was soft.|Days went by.] [One morning|At last], {h} saw a "
        "little green leaf! <h happy: [Look! It is growing!|It is here! It is here!]>",
        "The plant grew [bigger and bigger|taller and taller|a little more every day]. Soon it was "
        "{plant.what}. {plant.fruit}. [?{h} was so proud.|{h} danced around it.|Everyone came to "
        "see it.]",
        "[{h} learned that good things come to those who wait.|{h} learned to be patient.|{h} "
        "knew now that love and time make things grow.]",
        HOME_END,
    ]),
    "new friend": ("any", {
        "game": ["tag", "hide and seek", "catch", "a jumping game"],
        "alone": ["sitting alone under a tree", "standing alone by the fence",
                  "sitting alone on a rock"],
    }, [
        INTRO,
        ONE_DAY + ", {h} was playing {game} with {h.his} friends {place.at}. {h.he} saw someone "
        "new. It was {f.a} named {f}, {alone}. {f} looked [sad|lonely|shy].",
        "[{h.his} friends did not want to stop the game.|The others did not see {f}.] But {h} "
        "[felt sorry for {f}|remembered how it feels to be alone|wanted to be kind]. {h.he} walked "
        "over and smiled.",
        "<h kind: [Hello! My name is {h}. What is your name?|Hi, I am {h}. Are you new here?]> "
        "<f scared: [I am {f}. I just moved here.|My name is {f}. I do not know anyone here.]> "
        "<h happy: [Now you know me! Do you want to play {game} with us?|Come and play {game} with "
        "us!|You can play with us if you like.]>",
        "{f} [smiled for the first time that day|looked up and smiled|was so happy]. "
        "<f happy: [Yes, please!|I would love to!|Can I really play?]>",
        "They played {game} all {time}. [?{f} was very good at it, and everyone laughed and had "
        "fun.|{f} made everyone laugh.|{f} even showed them a new game.] [?When it was time to go "
        "home, {f} did not look sad anymore.|Soon {f} had many new friends.]",
        "[?<f happy: [Thank you, {h}. Today was the best day.|I am glad that I met you, {h}.]>] "
        "[{h} learned that a kind word can make a new friend.|{h} learned that it is easy to make "
        "a friend. You just say hello.]",
        "[?From that day on, they played together every day.|{h} and {f} were best friends from "
        "that day on.|After that, {f} was never alone again.]",
    ]),
    "stuck in a tree": ("child", {
        "item": [
            dict(what="kite", how="flew into a tall tree and got stuck"),
            dict(what="ball", how="went up into a tall tree and got stuck"),
            dict(what="balloon", how="flew up and got stuck in a tree"),
            dict(what="hat", how="blew away and got stuck in a tree"),
        ],
        "try": (2, ["jumped as high as {h.he} could", "threw a stick at it", "shook the tree",
                    "tried to climb up"]),
    }, [
        INTRO,
        ONE_DAY + ", {h} was {place.at} with {h.his} new {colour} {item.what}. [?{h.he} was having "
        "so much fun.|It was {h.his} favorite thing.] Then the wind blew hard, and the {item.what} "
        "{item.how}.",
        "<h sad: [Oh no! My {item.what}!|Oh no! How will I get it back?]> {h} {try1}, but it did "
        "not work. Then {h.he} {try2}, but the {item.what} did not move.",
        "[{h} sat down and felt sad.|{h} was about to go home.] Just then, {f} came by. "
        "<f: [What are you looking at?|Do you need help?|Why are you so sad?]> <h sad: [My "
        "{item.what} is stuck in the tree.|I cannot reach my {item.what}.]>",
        "[?{f} looked up and thought hard.|{f} thought for a while.] <f happy: [I have an idea! "
        "Let us work together.|I know! I can stand on your back.|We can use a long stick "
        "together!]> So they worked as a team. [?They pushed and pulled.|They tried once, and "
        "they tried again.] At last, the {item.what} came down!",
        "[?They both cheered.|<h happy: We did it!>|{h} jumped up and down.] " + THANKS,
        "[{h} learned that two friends can do more than one.|{h} learned that it is good to ask "
        "for help.|They learned that working together makes hard things easy.]",
    ]),
    "rainy day": ("any", {
        "indoor": [
            dict(make="a tent out of blankets", play="told stories inside it"),
            dict(make="a boat out of a big box", play="sailed to a faraway land"),
            dict(make="a castle out of pillows", play="played king and queen"),
            dict(make="paper boats", play="let them float in a bowl of water"),
        ],
    }, [
        INTRO,
        "{h} wanted to go to {place} with {f.full}. [?They had waited all week.|{h.he} had packed "
        "a basket with a~ {treat}.|{h.he} could not wait!] But when {h} woke up, it was raining. "
        "[?The rain fell and fell.|There were big gray clouds in the sky.]",
        "<h sad: [The day is ruined!|This is not fair!|Now we cannot go out.]> [?{h} looked out of "
        "the window and felt sad.|{h} did not want to do anything.] Then there was a knock on the "
        "door. It was {f}, all wet from the rain.",
        "<f happy: [We can have fun inside!|Do not be sad. I have an idea!|Rain cannot stop us "
        "from having fun!]> They made {indoor.make} and {indoor.play}. {p} gave them warm "
        "[milk|soup|tea] and a~ {treat} to share. [?They laughed so much that they forgot about "
        "the rain.|It was so much fun!]",
        "[After a while|In the afternoon], the rain stopped. {h} and {f} ran outside. [There was a "
        "beautiful rainbow in the sky!|They jumped in every puddle they could find.|The grass "
        "was shiny, and a big rainbow was in the sky.]",
        "<h happy: [I am glad that it rained today!|This was the best rainy day ever!]> "
        "[{h} learned that you can have fun on any day with a good friend.|{h} learned that a bad "
        "day can turn into a good one.]",
        FRIENDS_END,
    ]),
    "lost in the woods": ("any", {
        "lure": ["a pretty butterfly", "a blue bird", "a tiny frog", "a shiny leaf in the wind"],
        "guide": [dict(kind="owl", call="Mr. Owl"),
                  dict(kind="deer", call="Mrs. Deer"),
                  dict(kind="turtle", call="Mr. Turtle"),
                  dict(kind="goose", call="Mrs. Goose")],
    }, [
        INTRO,
        ONE_DAY + ", {h} went for a walk in the woods with {p}. <p: [Stay close to me, {h}.|Do not "
        "go too far, {h}.|Please stay on the path.]> But {h} saw {lure} and followed it. [?{h.he} "
        "ran deeper and deeper into the woods.|{h.he} did not look back.]",
        "[Soon|When {h.he} stopped], {h} did not know where {h.he} was. [?All the trees looked the "
        "same.|It was getting dark.|The woods were very quiet.] {h} was [scared|afraid]. "
        "[?<h scared: [I want to go home.|I am lost!|Where is my {p.word}?]>]",
        "Then {h.he} met an old {guide.kind}. <h: [Can you help me, {guide.call}? I am "
        "lost.|Please help me find my way, {guide.call}.]> <guide kind: [Do not cry. Just follow "
        "me.|I know every path in these woods. Come with me.]>",
        "They walked [past a small stream|over a little bridge|between the tall trees] and [up a "
        "hill|around a big rock|past the berry bushes]. At last, {h} heard a voice. It was {p}! "
        "{h} ran to {p.him} and gave {p.him} a big hug.",
        "<h sad: [I am sorry. I should have stayed close to you.|I am sorry that I did not "
        "listen.]> [?<p kind: [I am so glad that you are safe.|I was worried. I am happy that you "
        "are back.]>] [?They thanked the {guide.kind} and went home.|{h} waved goodbye to the "
        "{guide.kind}.]",
        "[{h} learned to listen and to stay close.|From that day on, {h} always stayed on the path."
        "|After that, {h} always listened to {p}.]",
    ]),
    "birthday": ("any", {
        "gift": ["a big {colour} kite", "a little wooden boat", "a~ {colour} scarf",
                 "a book full of stories", "a small drum"],
    }, [
        INTRO,
        "[Today was {h.his} birthday.|It was the morning of {h.his} birthday.] {h} jumped out of "
        "bed. [?{h.he} was so excited!|{h.he} could not wait to see {h.his} friends.] But nobody "
        "said a word about it. {p} [was busy in the kitchen|went out early|only said good "
        "morning].",
        "{h} went to see {f.full}. <h happy: [Do you know what day it is?|Guess what day it is "
        "today!]> <f: [It is a nice day, but I have to go now.|I am sorry, {h}. I am too busy to "
        "play.]> [?{f} ran away very fast.|Then {f} closed the door.]",
        "[{h} felt sad. {h.he} thought that everyone had forgotten.|{h} walked to {place} and sat "
        "down all alone.] [?<h sad: [Nobody remembers my birthday.|Does nobody care about me?]>] "
        "When the sun went down, {h} walked slowly home.",
        "It was dark inside. {h} opened the door, and then [all the lights came on|the room was "
        "full of light]. \"Surprise!\"" + KEEP_CASE + " everyone shouted. [?{f} was there, and all "
        "{h.his} friends were there, too.] [?There was a big cake on the table.|There were "
        "{colour} balloons everywhere.]",
        "<f happy: [We did not forget! We were making a surprise.|Happy birthday, {h}! We worked "
        "on this all day.]> {f} gave {h} {gift}. [?{h} was so happy that {h.he} cried a "
        "little.|{h} laughed and hugged everyone.]",
        "[{h} learned that good friends never forget.|{h} knew that {h.he} was loved very much.]",
        "[?They danced and sang until late at night.|It was the best birthday ever.|They ate cake "
        "and played games all night.]",
    ]),
    "messy room": ("child", {
        "lost": ["shoe", "hat", "book", "coat", "blue sock"],
        "found": ["under the bed", "under a pile of toys", "behind the chair", "under a blanket"],
    }, [
        INTRO,
        "[But {h} did not like to clean up.|{h} had one problem. {h.his} room was always a mess.] "
        "There were toys on the floor and clothes on the chair. <p: [Please clean your room, {h}."
        "|You should put your things away, {h}.]> <h: [I will do it later.|I do not have time now."
        "|Tomorrow!]>",
        ONE_DAY + ", {f} came to the door. <f happy: [Come with us to {place}!|We are going to "
        "{place}. Do you want to come?]> {h} wanted to go, but {h.he} could not find {h.his} "
        "{lost}. [?{h.he} looked here and there, but there was too much mess.|{h.he} looked "
        "everywhere, but it was not there.]",
        "[?{h} wanted to cry.|{h} felt bad.] <h sad: [Now I cannot go.|I will never find it in "
        "this mess.]> <f kind: [I can help you clean up.|Let us clean up together.|We can do it "
        "fast if we work together.]>",
        "They put the toys in the box and the books on the shelf. [?They sang a song while they "
        "worked.|It was almost like a game.] Soon the floor was clean, and there was the {lost}, "
        "{found}! <h happy: [I found it!|There it is!]>",
        "[?[{p} looked into the room and smiled.|{p} was very proud.] <p happy: [What a clean room!"
        "|Now you can find all your things.|Well done, you two!]>]",
        "[{h} learned that it is good to keep things in their place.|From that day on, {h} put "
        "{h.his} things away every night.|After that, {h} never lost a {lost} again.]",
    ]),
    "race": ("animal", {
        "finish": ["the old oak tree", "the big rock", "the blue pond", "the top of the hill"],
        "trip": ["fallen over a root", "slipped in the mud", "fallen into a hole"],
    }, [
        INTRO,
        "{h} was [very fast|the fastest of all {h.his} friends]. {h.he} wanted to win the big race "
        "{place.at}. {f.full} wanted to win, too. [?All the animals came to watch.|Everyone was "
        "excited.]",
        "\"Ready, set, go!\"" + KEEP_CASE + " called the old owl. They ran as fast as they could "
        "to {finish}. [?{h} was first, and {f} was close behind.|{h} ran past all the "
        "others.|First {f} was in front, and then {h} was.]",
        "Then {h} heard a cry. {f} had {trip}. <f sad: [Ouch! My foot hurts!|Help! I cannot get "
        "up!]> [?{h} could see the end of the race.|{h} was almost there.] [?{h.he} wanted to win "
        "so much.|If {h.he} stopped, {h.he} would lose.]",
        "But {h} stopped and went back. <h kind: [Take my hand, {f}. I will help you.|Are you "
        "okay, {f}? Lean on me.]> [{h} helped {f} to get up.|{f} put an arm around {h}.] They "
        "walked slowly to {finish} together. [?They were the last ones.|All the others were there "
        "before them.]",
        "But all the animals clapped and cheered for them. [?<f happy: [Thank you, {h}. You are a "
        "true friend.|You could have won, but you helped me.]>] The old owl gave {h} a prize for "
        "[the kindest heart|being so kind].",
        "[{h} learned that it is better to be kind than to be first.|{h} knew that a friend is "
        "better than a prize.|{h} was happier than any winner.]",
    ]),
    "teamwork": ("animal", {
        "load": [
            dict(what="a huge pumpkin", use="soup"), dict(what="a big round cheese", use="lunch"),
            dict(what="a very big turnip", use="stew"), dict(what="a giant apple", use="pie"),
        ],
    }, [
        INTRO,
        ONE_DAY + ", {h} found {load.what} near {place}. [?<h happy: [This is enough {load.use} "
        "for everyone!|I can make so much {load.use}!|I will take it home.]>] {h} pushed and "
        "pushed, but it did not move. [?It was much too heavy.|{h.he} pulled, but it still did "
        "not move.]",
        "{f.full} came by. <f: [Do you need some help?|Can I help you?]> <h: [No, thank you. I can "
        "do it alone.|No, I am strong. I can do it by myself.]> {h} pushed again, until {h.he} was "
        "[very tired|so tired that {h.he} fell down]. [?The sun was going down.|It was getting "
        "late.]",
        "[At last|Then], {h} [sat down and sighed|felt a little silly]. <h sad: [I cannot do it "
        "alone. Will you help me, {f}?|Maybe I do need help.]> <f happy: [Of course I will!|Yes! "
        "That is what friends are for.]>",
        "So {h} and {f} pushed together. One, two, three! [?It moved a little.|Slowly, it began to "
        "roll.] [?[They called their friends, and everyone helped to push.|They pushed again and "
        "again.]] Soon they had rolled it all the way home.",
        "That evening, they made {load.use} and [everyone came to eat|all the animals had some]. "
        "[?It was warm and good.|It tasted wonderful.]",
        "[{h} learned that it is okay to ask for help.|{h} learned that together we are strong.|"
        "{h} knew that work is easy when friends do it together.]",
    ]),
    "too much": ("any", {
        "food": ["cookies", "berries", "cherries", "pancakes", "plums"],
    }, [
        INTRO,
        "{h} loved {food} more than anything. " + ONE_DAY + ", {p} [made|brought home] a big bowl "
        "of {food}. <p: [You can have three now, and we will save the rest.|These are for "
        "everyone, so please eat only a few.|Please wait for {f}. Then we can all eat them.]>",
        "[Then {p} went out to the garden.|But when {p} was away, {h} went back to the bowl.] The "
        "{food} [looked so good|smelled so sweet]. {h} ate one. Then {h.he} ate one more, and one "
        "more, until the bowl was empty.",
        "[Soon|After a while], {h} felt bad. {h.his} tummy hurt very much. [?<h sad: [Oh, my tummy "
        "hurts!|I do not feel well.|I should not have done that.]>] [?{h.he} lay down on the floor."
        "|{h.he} held {h.his} tummy and cried.]",
        "{p} came back and saw the empty bowl. [?{p} sat down next to {h}.|{p} was not angry, only "
        "a little sad.] <p kind: [Did you eat all the {food}, {h}?|Where are the {food}? Did you "
        "eat them all?]> <h sad: [Yes, I did. I am sorry.|I ate them all. I am very sorry.]>",
        "{p} gave {h} some [tea|water] and [let {h.him} rest|a warm blanket]. [The next day|A "
        "few days later], {h} helped to get more {food}. [This time, {h.he} shared them with "
        "{f}.|{h.he} gave the first one to {f} and ate only two.]",
        "[{h} learned that too much of a good thing can be bad.|{h} learned that it is better to "
        "share than to eat everything alone.|From that day on, {h} ate only a few.]",
    ]),
    "wish": ("any", {
        "giver": [dict(kind="fish", where="caught in a net", shine="gold"),
                  dict(kind="star", where="stuck in a bush", shine="silver"),
                  dict(kind="bird", where="caught in a net", shine="blue"),
                  dict(kind="butterfly", where="stuck in a web", shine="golden")],
        "self": ["a big pile of toys", "a house made of cake", "a golden crown",
                 "all the sweets in the world"],
        "need": [dict(bad="was sick in bed", wish="I wish for {f} to be well again",
                      good="{f} jumped out of bed and was well again"),
                 dict(bad="had lost {f.his} way", wish="I wish for {f} to come home safely",
                      good="{f} came running down the path"),
                 dict(bad="was sad because {f.his} house was broken",
                      wish="I wish for a new home for {f}",
                      good="there was a pretty new house for {f}")],
    }, [
        INTRO,
        ONE_DAY + ", {h} was walking by {place} when {h.he} saw a little {giver.shine} "
        "{giver.kind}. It was {giver.where}. <giver: [Please help me!|Help! I cannot get out!]> "
        "{h} [was very careful and set it free|helped it right away].",
        "<giver kind: [Thank you, {h}. I will give you one wish.|You are kind, {h}. You can have "
        "one wish.]> [?{h} was so excited!] {h} thought about {self}. [?That would be so much "
        "fun!|What a wish that would be!]",
        "But then {h} thought about {h.his} friend {f}. {f} {need.bad}. [{h} did not need to think "
        "anymore.|{h} knew what to do.] <h kind: {need.wish}.>",
        "The {giver.kind} [began to shine|turned around three times]. [?There was a flash of light."
        "|The air was full of tiny lights.] Just like that, {need.good}! "
        "<f happy: [What happened? I am so happy!|This is like a dream!]> {h} told {f.him} about "
        "the wish.",
        "[?<f happy: [You gave your only wish to me? Thank you, {h}!|You could have wished for "
        "{self}!]> <h happy: [You are my friend. That is better than {self}.|I am happy when you "
        "are happy.]>]",
        "[{h} learned that the best wish is one for a friend.|{h} knew that making a friend happy "
        "is the best gift.]",
    ]),
    "taking turns": ("any", {
        "toy": ["swing", "drum", "wagon", "sled", "toy train", "boat"],
    }, [
        INTRO,
        ONE_DAY + ", {h} and {f.full} were {place.at}. They found a~ {colour} {toy}. <h happy: [I "
        "want to play with it!|I saw it first!|It is mine!]> <f: [No, I want it!|No, I saw it "
        "first!|No, it is my turn!]>",
        "{h} pulled, and {f} pulled, too. [They pulled and shouted until they fell down in the mud."
        "|They both shouted, and nobody had any fun.] [?{f} sat down and looked away.|Then {f} "
        "began to cry.|They were both very angry.] {h} [felt bad|was sorry|did not feel happy at "
        "all].",
        "{p} heard the noise and came to see. <p kind: [A toy is no fun if you fight.|Why do you "
        "not take turns?|What can you do so that both of you are happy?]> {h} thought about it. "
        "{h.he} looked at the {toy}, and then {h.he} looked at {f}.",
        "<h kind: [I am sorry, {f}. You can go first.|I am sorry that I pulled. Let us take "
        "turns.]> <f kind: [I am sorry, too. We can play together.|Thank you. Then it will be "
        "your turn.]>",
        "First {f} played with the {toy}, and then {h} did. [?They counted to ten and changed "
        "places.|They even made up a new game for two.] [?It was much more fun than before.|They "
        "laughed and laughed.]",
        "[{h} learned that taking turns is better than fighting.|They learned that it is more fun "
        "to play together.|{h} knew that a friend is more important than a toy.]",
        FRIENDS_END,
    ]),
    "heavy basket": ("child", {
        "elder": [{"": "Mrs. Brown", "kind": "an old woman", "he": "she",
                   "him": "her", "his": "her"},
                  {"": "Mr. Green", "kind": "an old man", "he": "he",
                   "him": "him", "his": "his"},
                  {"": "Mrs. Rose", "kind": "an old lady", "he": "she",
                   "him": "her", "his": "her"}],
        "load": ["apples", "wood", "potatoes", "books"],
        "reward": ["a warm cookie", "a piece of cake", "a shiny red apple", "a jar of honey"],
    }, [
        INTRO,
        ONE_DAY + ", {h} was on {h.his} way to {place} to meet {f}. [?{h.he} was in a "
        "hurry.|{h.he} was skipping down the road.] On the road, {h.he} saw {elder.kind} named "
        "{elder}. {elder.he} was carrying a heavy basket of {load}.",
        "[?{elder} [walked very slowly|had to stop and rest].] [?Many people walked by, but nobody "
        "stopped.|The basket was too heavy for {elder.him}.] {h} wanted to play, but {h.he} "
        "[stopped|felt sorry for {elder.him}]. <h kind: [Can I help you with your basket?|May I "
        "carry that for you?]>",
        "<elder: [That is very kind of you. Thank you!|Oh, yes, please! My arms are so tired.]> "
        "{h} took the basket. It was heavy, but {h.he} [did not stop|carried it all the way]. "
        "[?On the way, {elder} told {h.him} [funny stories|a story about a bear who could dance].]",
        "When they came to {elder.his} house, {elder} gave {h} {reward}. [?[<h happy: Thank you! "
        "But I was happy to help.>|{h} said thank you and smiled.]] Then {h} ran to meet {f}.",
        "[?<f: [Why are you so late?|Where were you?]> <h happy: [I helped {elder}, and now I "
        "have something to share!|I made a new friend today!]> {h} told {f} everything, and they "
        "shared what {elder} had given {h.him}.]",
        "[{h} learned that helping others makes you happy, too.|{h} learned that a little help can "
        "mean a lot.|From that day on, {h} visited {elder} every week.]",
    ]),
    "gift for a parent": ("child", {
        "gift": [
            dict(what="a picture of the sea", make="painted", mess="the paint fell on the floor"),
            dict(what="a cake", make="baked", mess="the flour flew everywhere"),
            dict(what="a necklace of shells", make="made", mess="the string broke"),
            dict(what="a card with a big heart", make="made", mess="the glue got everywhere"),
        ],
    }, [
        INTRO,
        "[Tomorrow was a special day for {p}.|{p} had worked hard all week and was very tired.] "
        "{h} wanted to give {p.him} a gift, but {h.he} did not have any money. <h sad: [What can "
        "I do?|I have nothing to give.]>",
        "{h} asked {f} for help. <f kind: [You can make something. A gift from the heart is the "
        "best.|Why do you not make something by yourself?]> <h happy: [That is a great idea! I "
        "will make {gift.what}!|I know! I will make {gift.what}!]>",
        "{h} worked all {time}. It was not easy. First, {gift.mess}. [?{h} wanted to give up, but "
        "{h.he} started again.|{h} almost cried, but then {h.he} tried again.] [?{f} helped "
        "{h.him} a little.|{h.he} worked until it was dark.] At last, it was done.",
        "In the morning, {h} gave {p} the gift. <h: [I made it for you, {p.call}.|This is for you, "
        "{p.call}. It is not perfect.]> {p} looked at the gift, and {p.his} eyes were full of "
        "happy tears. <p happy: [It is the best gift in the world!|This is so beautiful! You made "
        "it with love.]>",
        "[{h} learned that a gift made with love is the best gift of all.|{h} learned that you do "
        "not need money to make someone happy.]",
    ]),
}


def pick(rng, options):
    """One of the options; earlier ones are more likely."""
    weights = [1 / (rank + 1.5) for rank in range(len(options))]
    return rng.choices(options, weights)[0]


def make_character(rng, kind, taken):
    """A child or an animal as a dictionary of forms; its name is not among the taken ones."""
    pronoun = rng.choice(["she", "he"])
    if kind == "child":
        names = GIRLS if pronoun == "she" else BOYS
        noun = "girl" if pronoun == "she" else "boy"
        home, hobbies = pick(rng, CHILD_HOMES), CHILD_HOBBIES
    else:
        names = ANIMAL_GIRLS if pronoun == "she" else ANIMAL_BOYS
        noun = pick(rng, [animal for animal in ANIMALS if animal not in taken])
        home, hobbies = ANIMALS[noun]
    name = pick(rng, [name for name in names if name not in taken])
    adjective = pick(rng, ADJECTIVES)
    return {
        "": name, "kind": noun, "adj": adjective, "home": home, "hobby": pick(rng, hobbies),
        "land": pick(rng, LANDS),
        "full": name if kind == "child" else f"{name} the {noun}",
        "a": f"a~ {adjective} {noun}", **PRONOUNS[pronoun],
    }


def make_parent(rng, hero):
    """A parent or grandparent of the hero, called by one way of naming through the story."""
    word, pronoun = pick(rng, PARENTS)
    call = word.capitalize()
    name = pick(rng, [call, f"{hero['his']} {word}"])
    return {"": name, "word": word, "call": call, **PRONOUNS[pronoun]}


def fill_slots(rng, slots):
    """Chooses a value for every slot."""
    values = {}
    for slot, options in slots.items():
        if isinstance(options, tuple):
            count, options = options
            for number, value in enumerate(rng.sample(options, count), 1):
                values[f"{slot}{number}"] = value
        else:
            values[slot] = pick(rng, options)
    return values


def choose_alternatives(rng, template):
    """Resolves [a|b|c] and [?a|b|c], innermost first."""
    def choose(match):
        if match[1] and rng.random() >= OPTIONAL:
            return ""
        return pick(rng, match[2].split("|"))
    while "[" in template:
        template = re.sub(r"\[(\??)([^\[\]]*)\]", choose, template)
    return template


def substitute(template, values):
    """Fills {slot} and {role.form}, also those inside the values themselves."""
    def value_of(match):
        name, _, form = match[1].partition(".")
        value = values[name]
        return value[form] if isinstance(value, dict) else value
    while "{" in template:
        template = re.sub(r"\{([\w.]+)\}", value_of, template)
    return template


def say(rng, speaker, mood, words):
    """A line of dialogue with its speaker before or after it."""
    adverbs, phrases = MOODS[mood]
    end = words[-1]
    verb = pick(rng, VERBS[end])
    adverb = pick(rng, adverbs)
    tail = f" {adverb}" if adverb else ""
    if rng.random() < 0.5:
        if phrases and end != "?" and rng.random() < 0.3:
            return f'{speaker} {pick(rng, phrases)}, "{words}"'
        return f'{speaker} {verb}{tail}, "{words}"'
    spoken = words[:-1] + "," if end == "." else words
    return f'"{spoken}"{KEEP_CASE} {verb} {speaker}{tail}.'


def add_dialogue(rng, template, values):
    """Turns <role mood: Words.> into lines of dialogue."""
    def line(match):
        role, mood, words = match.groups()
        who = values[role]
        return say(rng, who[""] if "" in who else f"the {who['kind']}", mood, words)
    return re.sub(r"<(\w+)(?: (\w+))?: ([^<>]*)>", line, template)


def polish(text):
    """Articles, spaces and capitals."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\b([Aa])~ ([aeiouAEIOU]?)",
                  lambda match: f"{match[1]}{'n' if match[2] else ''} {match[2]}", text)
    text = re.sub(r'(^|[.!?]"? |")([a-z])', lambda match: match[1] + match[2].upper(), text)
    return text.replace(KEEP_CASE, "")


def make_story(rng):
    """One story of MIN_WORDS to MAX_WORDS words; all skeletons are equally likely."""
    hero_kind, slots, beats = SKELETONS[rng.choice(list(SKELETONS))]
    if hero_kind == "any":
        hero_kind = rng.choice(["child", "child", "animal"])
    while True:
        hero = make_character(rng, hero_kind, ())
        friend = make_character(rng, hero_kind, (hero[""], hero["kind"]))
        values = {"h": hero, "f": friend, "p": make_parent(rng, hero)}
        values.update(fill_slots(rng, COMMON))
        values.update(fill_slots(rng, slots))
        text = choose_alternatives(rng, " ".join(beats))
        text = polish(substitute(add_dialogue(rng, text, values), values))
        if MIN_WORDS <= len(text.split()) <= MAX_WORDS:
            return text


def make_stories(seed, count):
    """A list of stories, the same for the same seed."""
    rng = random.Random(seed)
    return [make_story(rng) for _ in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stories", type=int, default=10, help="how many stories to write")
    args = parser.parse_args()
    for story in make_stories(args.seed, args.stories):
        print(story)


if __name__ == "__main__":
    main()
