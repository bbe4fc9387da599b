// Searches to begin with.
export const EXAMPLES = [
  {
    name: "English", language: "en", query: "How do I fix a flat bicycle tyre?",
    documents: [
      "Take the wheel off, patch the tube and pump up the tire.",
      "Tyres of cars are changed in autumn.",
      "A bike with a broken chain cannot be ridden.",
      "Glue and patches come with every repair kit.",
      "Cycling keeps you fit.",
      "The car was repaired within a day.",
      "The flat has two rooms and a balcony.",
    ],
  },
  {
    name: "Deutsch", language: "de", query: "Wie flicke ich einen platten Fahrradreifen?",
    documents: [
      "Das Rad ausbauen, den Schlauch kleben und wieder aufpumpen.",
      "Autoreifen werden im Herbst gewechselt.",
      "Mit gerissener Kette kann man nicht fahren.",
      "Kleber und Flicken liegen jedem Reparaturset bei.",
      "Radfahren hält fit.",
      "Das Auto war am selben Tag repariert.",
      "Die Wohnung hat zwei Zimmer und einen Balkon.",
    ],
  },
  {
    name: "中文", language: "zh", query: "自行车轮胎没气了怎么修？",
    documents: [
      "卸下车轮，补好内胎，再打足气。",
      "汽车轮胎在秋天更换。",
      "链条断了的自行车不能骑。",
      "每个修理包里都有胶水和补丁。",
      "骑车使人健康。",
      "汽车当天就修好了。",
      "这套公寓有两个房间和一个阳台。",
    ],
  },
];

// Models of English alone, by their ids: /v1/models does not know languages.
const ENGLISH = /all-minilm|all-mpnet|demo-|-en(-|$)|msmarco|ms-marco|multi-qa|gte-(small|base|large)$|mxbai|nomic-embed-text-v1/i;

export const isEnglishOnly = (model) => ENGLISH.test(model.id);
